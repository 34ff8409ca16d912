package gateway

import (
	"maps"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
)

// Members of a stored session's metadata that say which API's auth_check made
// it. Nobody but the gateway sees them. A session without is an operator's.
const (
	// makerMember is that of a session that is stored under its token.
	makerMember = "krait:auth_check_api"
	// extractorMember is that of a session that is stored under what an ID
	// extractor made of the request. Such an id is no secret: the value may be
	// a user's name. So the session is never a key, and what is stored under a
	// token never stands for an extracted id.
	extractorMember = "krait:id_extractor_api"
)

// makerMembers are all of them.
func makerMembers() []string { return []string{makerMember, extractorMember} }

// madeByHook reports whether an auth_check made s, as it is stored.
func madeByHook(s *coprocesspb.SessionState) bool {
	for _, member := range makerMembers() {
		if _, made := s.GetMetadata()[member]; made {
			return true
		}
	}
	return false
}

// hideMakers removes what the gateway alone sees.
func hideMakers(s *coprocesspb.SessionState) {
	for _, member := range makerMembers() {
		delete(s.GetMetadata(), member)
	}
}

// keepMakers gives s what old says about its maker.
func keepMakers(s, old *coprocesspb.SessionState) {
	kept := make(map[string]string)
	for _, member := range makerMembers() {
		if maker, made := old.GetMetadata()[member]; made {
			kept[member] = maker
		}
	}
	if s.Metadata == nil {
		s.Metadata = kept
		return
	}
	maps.Copy(s.Metadata, kept)
}

// opens reports whether s, as it is stored, is a key of the API a. A session
// that auth_check made vouches for its caller at that hook's API; elsewhere it
// counts only when its access rights say where.
func opens(s *coprocesspb.SessionState, a *api) bool {
	if _, extracted := s.GetMetadata()[extractorMember]; extracted {
		return false
	}
	return vouches(s, makerMember, a)
}

// identifies reports whether s, as it is stored under an extracted id, stands for
// its caller at the API a without auth_check. It is as with opens, until the
// deadline that auth_check has set.
func identifies(s *coprocesspb.SessionState, a *api, now time.Time) bool {
	if _, token := s.GetMetadata()[makerMember]; token || s.GetIdExtractorDeadline() <= now.Unix() {
		return false
	}
	return vouches(s, extractorMember, a)
}

func vouches(s *coprocesspb.SessionState, member string, a *api) bool {
	maker, bound := s.GetMetadata()[member]
	return s.GetOrgId() == a.orgID && (!bound || maker == a.id || len(s.GetAccessRights()) > 0)
}
