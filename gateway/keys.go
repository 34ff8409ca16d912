package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// maxKeyBody bounds, in bytes, the JSON of a key; maxKeyID its id.
	maxKeyBody = 1 << 20
	maxKeyID   = 4096
	// generatedBytes is the length of ids that the gateway makes up.
	generatedBytes = 16
)

// Messages of the key endpoints, with the reference's words.
const (
	msgKeyMalformed   = "Request malformed"
	msgKeyNotFound    = "Key not found"
	msgKeyNotFoundPut = "Key is not found"
	msgKeyNotFoundDel = "There is no such key found"
	msgNoRights       = "Failed to create key, keys must have at least one Access Rights record set."
	msgKeyStore       = "The key store does not answer, please retry"
	msgKeyHashed      = "Key requested by hash but key hashing is not enabled"
)

// keyAnswer says what was done to a key.
type keyAnswer struct {
	Key    string `json:"key"`
	Status string `json:"status"`
	Action string `json:"action"` // added, modified or deleted
}

// keyIDs are the ids that the credential or name key may be stored under: as it
// is, and as operators' keys of the organisation are.
func keyIDs(orgID, key string) []string {
	if canonical := keyID(orgID, key); canonical != key {
		return []string{key, canonical}
	}
	return []string{key}
}

// keyID is what the reference stores an operator's key under.
func keyID(orgID, key string) string { return orgID + strings.TrimPrefix(key, orgID) }

// serveKey answers GET /tyk/keys/{id}: the key with its policies applied, and
// what is left of its quota.
func (g *Gateway) serveKey(w http.ResponseWriter, r *http.Request) {
	id, s, answer := g.namedKey(r, g.orgOf(r))
	if answer != nil {
		answer.writeAdmin(w, r, msgKeyNotFound)
		return
	}
	hideMakers(s)
	g.showCounters(r.Context(), id, s)
	s.KeyId = id
	writeJSON(w, r, http.StatusOK, session.DocumentOf(s))
}

// createKey answers POST /tyk/keys and /tyk/keys/create: a key with an id that
// the gateway makes up.
func (g *Gateway) createKey(w http.ResponseWriter, r *http.Request) {
	var id [generatedBytes]byte
	_, _ = rand.Read(id[:]) // never fails
	g.addKey(w, r, hex.EncodeToString(id[:]))
}

// addNamedKey answers POST /tyk/keys/{id}.
func (g *Gateway) addNamedKey(w http.ResponseWriter, r *http.Request) {
	id, answer := pathKey(r)
	if answer != nil {
		answer.writeAdmin(w, r, "")
		return
	}
	g.addKey(w, r, id)
}

func (g *Gateway) addKey(w http.ResponseWriter, r *http.Request, id string) {
	s, answer := g.readKey(w, r)
	if answer == nil {
		id = keyID(s.GetOrgId(), id)
		answer = g.replaceKey(r, id, s)
	}
	if answer != nil {
		answer.writeAdmin(w, r, "")
		return
	}
	writeJSON(w, r, http.StatusOK, keyAnswer{Key: id, Status: "ok", Action: "added"})
}

// changeKey answers PUT /tyk/keys/{id}: what the body leaves out is gone.
func (g *Gateway) changeKey(w http.ResponseWriter, r *http.Request) {
	s, answer := g.readKey(w, r)
	var id string
	if answer == nil {
		var old *coprocesspb.SessionState
		id, old, answer = g.namedKey(r, s.GetOrgId())
		switch {
		case answer == nil && old.GetOrgId() != s.GetOrgId(), answer != nil && answer.foreign:
			answer = badKey("org_id: is not that of the key; a key stays in its organisation")
		case answer == nil:
			keepMakers(s, old) // whatever its rights become, it opens no other API by itself
			answer = g.putKey(r, id, s, old)
		}
	}
	if answer != nil {
		answer.writeAdmin(w, r, msgKeyNotFoundPut)
		return
	}
	writeJSON(w, r, http.StatusOK, keyAnswer{Key: id, Status: "ok", Action: "modified"})
}

// deleteKey answers DELETE /tyk/keys/{id}. No gateway keeps keys of its own, so
// that the key is gone for all of them.
func (g *Gateway) deleteKey(w http.ResponseWriter, r *http.Request) {
	id, s, answer := g.namedKey(r, g.orgOf(r))
	if answer == nil {
		if err := g.sessions.Delete(r.Context(), id); err != nil {
			answer = g.storeFault(err)
		}
	}
	if answer == nil && !suppressesReset(r) {
		answer = g.resetCounters(r.Context(), id, s)
	}
	if answer != nil {
		answer.writeAdmin(w, r, msgKeyNotFoundDel)
		return
	}
	g.log.Info("key was deleted", telemetry.KeyOrgID, s.GetOrgId(), telemetry.KeyTokenHash, telemetry.TokenHash(id))
	writeJSON(w, r, http.StatusOK, keyAnswer{Key: id, Status: "ok", Action: "deleted"})
}

// keyFault is why a key endpoint does not do what it is asked.
type keyFault struct {
	code    int
	message string // "" with 404: the endpoint's own
	foreign bool   // there is such a key, of another organisation
}

func badKey(message string) *keyFault {
	return &keyFault{code: http.StatusBadRequest, message: message}
}

func (f *keyFault) writeAdmin(w http.ResponseWriter, r *http.Request, notFound string) {
	message := f.message
	if message == "" {
		message = notFound
	}
	if f.code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterBusy))
	}
	adminError(w, r, f.code, message)
}

// pathKey returns the id in r's path. Ids that no request could present are
// refused.
func pathKey(r *http.Request) (string, *keyFault) {
	id := r.PathValue("id")
	switch {
	case r.URL.Query().Get("hashed") != "":
		return "", badKey(msgKeyHashed)
	case len(id) > maxKeyID:
		return "", badKey("key id: is longer than " + strconv.Itoa(maxKeyID) + " bytes; choose a shorter one")
	case !utf8.ValidString(id):
		return "", badKey("key id: is not UTF-8; percent-encode its UTF-8 bytes")
	case strings.ContainsFunc(id, unicode.IsControl):
		return "", badKey("key id: has a control character; choose another id")
	case id != strings.TrimSpace(id), id == "":
		return "", badKey("key id: is empty, or begins or ends with a space; choose another id")
	}
	return id, nil
}

// orgOf returns the organisation that r is about: org_id, or that of the API
// api_id. "" leaves it to the key's id.
func (g *Gateway) orgOf(r *http.Request) string {
	query := r.URL.Query()
	if s := g.use(); s != nil {
		defer s.release()
		if a := s.byID[query.Get("api_id")]; a != nil {
			return a.orgID
		}
	}
	return query.Get("org_id")
}

// namedKey returns the key that r's path names, with or without its
// organisation, and its id. Unless orgID is "", keys of others do not count.
func (g *Gateway) namedKey(r *http.Request, orgID string) (id string, s *coprocesspb.SessionState, fault *keyFault) {
	name, fault := pathKey(r)
	if fault != nil {
		return "", nil, fault
	}
	ids := keyIDs(orgID, name)
	slices.Reverse(ids) // the organisation's own first
	var err error
	foreign := false
	for _, id = range ids {
		s, err = g.sessions.Get(r.Context(), id)
		switch {
		case err == nil && (orgID == "" || s.GetOrgId() == orgID):
			return id, s, nil
		case err == nil:
			foreign, err = true, store.ErrNotFound
		}
		if !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", nil, &keyFault{code: http.StatusNotFound, foreign: foreign}
	case errors.Is(err, session.ErrCorrupt):
		return "", nil, &keyFault{
			code:    http.StatusInternalServerError,
			message: "The stored key cannot be read; delete it in the store, or write it anew with POST",
		}
	}
	return "", nil, g.storeFault(err)
}

// readKey returns the key in r's body, once it is sure that it would be of use.
func (g *Gateway) readKey(w http.ResponseWriter, r *http.Request) (*coprocesspb.SessionState, *keyFault) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxKeyBody))
	if err != nil {
		if _, long := errors.AsType[*http.MaxBytesError](err); long {
			return nil, &keyFault{
				code:    http.StatusRequestEntityTooLarge,
				message: msgKeyMalformed + ": the body is longer than " + strconv.Itoa(maxKeyBody) + " bytes",
			}
		}
		return nil, badKey(msgKeyMalformed + ": the body did not arrive")
	}
	s, err := session.FromJSON("body", data)
	if err != nil {
		return nil, badKey(msgKeyMalformed + ": " + oneLine(err))
	}
	for _, member := range makerMembers() {
		if _, taken := s.GetMetadata()[member]; taken {
			return nil, badKey(msgKeyMalformed + ": body: meta_data." + member + ": is the gateway's own; remove it")
		}
	}
	applied := s.CloneVT()
	if _, err := g.policies.Load().Apply(applied, s.GetOrgId(), ""); err != nil {
		return nil, badKey("Failed to create key - " + oneLine(err))
	}
	if len(applied.GetAccessRights()) == 0 {
		return nil, badKey(msgNoRights)
	}
	return s, nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
