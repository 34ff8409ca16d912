package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/session"
)

const (
	fromHeader = `{"extract_from": "header", "extract_with": "value", "extractor_config": {"header_name": "Authorization"}}`
	fromForm   = `{"extract_from": "form", "extract_with": "value", "extractor_config": {"param_name": "id"}}`
	fromBody   = `{"extract_from": "body", "extract_with": "regex", "extractor_config": {"regex_expression": "user-[0-9]+"}}`
)

// remembering is a gateway with an API "a" whose auth_check lets everybody in,
// for an hour, and counts its runs.
type remembering struct {
	*fixture
	up       *upstream
	sessions *session.Store
	runs     atomic.Int64
}

// remember starts it. change alters the session, more what else there is.
func remember(t *testing.T, extractor string, change func(*coprocesspb.SessionState), more setup) *remembering {
	t.Helper()
	r := &remembering{up: newUpstream(t)}
	if more.hooks == nil {
		more.hooks = map[string]hookFunc{}
	}
	more.hooks["Auth"] = func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Session = &coprocesspb.SessionState{IdExtractorDeadline: time.Now().Add(time.Hour).Unix()}
		obj.Metadata = map[string]string{"token": fmt.Sprintf("token-%d", r.runs.Add(1)), "who": "me"}
		if change != nil {
			change(obj.Session)
		}
		return nil
	}
	if more.bundles == nil {
		more.bundles = bundles{"b.zip": `{"driver": "python", "auth_check": {"name": "Auth"}, "id_extractor": ` + extractor + `}`}
	}
	if more.apis == nil {
		more.apis = []apidef.Loaded{definition(t, "a", "/a/", r.up.URL, withHooks(custom()))}
	}
	r.fixture = start(t, more)
	r.sessions = session.NewStore(r.store)
	return r
}

// stored returns the session that is kept for value.
func (r *remembering) stored(value string) *coprocesspb.SessionState {
	r.t.Helper()
	s, err := r.sessions.Get(r.t.Context(), idextract.SessionID("org", value))
	require.NoError(r.t, err)
	return s
}

// put keeps s for the caller "abc".
func (r *remembering) put(s *coprocesspb.SessionState) {
	r.t.Helper()
	require.NoError(r.t, r.sessions.Put(r.t.Context(), idextract.SessionID("org", "abc"), s, 0))
}

func TestCachedIdentitySkipsAuthCheck(t *testing.T) {
	var seen []map[string]string
	r := remember(t, fromHeader, nil, setup{
		hooks: map[string]hookFunc{"Post": func(_ context.Context, obj *coprocesspb.Object) error {
			seen = append(seen, obj.GetMetadata(), obj.GetSession().GetMetadata())
			return nil
		}},
		bundles: bundles{"b.zip": `{"driver": "python", "auth_check": {"name": "Auth"}, "id_extractor": ` + fromHeader + `,
			"post_key_auth": [{"name": "Post"}], "post": [{"name": "Post"}]}`},
	})
	for range 3 {
		require.Equal(t, 200, r.get("/a/x", "Authorization", "abc").code)
	}
	require.EqualValues(t, 1, r.runs.Load())
	require.Equal(t, 3, r.up.count())
	require.Len(t, seen, 12)
	for _, metadata := range seen {
		require.Equal(t, map[string]string{"token": "token-1", "who": "me"}, metadata, "hooks see the stored session's metadata")
	}
	s, err := r.sessions.Get(t.Context(), "org900150983cd24fb0d6963f7d28e17f72")
	require.NoError(t, err, "the id is the organisation's id and the MD5 of the value")
	require.Equal(t, "org", s.GetOrgId())
	_, err = r.sessions.Get(t.Context(), "token-1")
	require.Error(t, err, "nothing is stored under the token")
	require.NotRegexp(t, `\babc\b`, r.logs.String()) // not in the midst of a request id

	require.Equal(t, 200, r.get("/a/x", "Authorization", "Bearer abc").code)
	require.EqualValues(t, 2, r.runs.Load(), "auth_check alone knows whether Bearer makes a difference")
}

func TestIDExtractorDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		deadline int64
		runs     int64
	}{
		"in the future":   {time.Now().Add(time.Hour).Unix(), 1},
		"in milliseconds": {time.Now().UnixMilli(), 1},
		"not set":         {0, 2},
		"negative":        {-1, 2},
		"just over":       {time.Now().Unix(), 2},
		"long over":       {1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := remember(t, fromHeader, func(s *coprocesspb.SessionState) { s.IdExtractorDeadline = tc.deadline }, setup{})
			for range 2 {
				require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
			}
			require.Equal(t, tc.runs, r.runs.Load())
		})
	}
	t.Run("auth_check runs again when it is over, and sets a new one", func(t *testing.T) {
		r := remember(t, fromHeader, nil, setup{})
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		s := r.stored("abc")
		s.IdExtractorDeadline = time.Now().Unix()
		r.put(s)
		for range 2 {
			require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		}
		require.EqualValues(t, 2, r.runs.Load())
		require.Equal(t, "token-2", r.stored("abc").GetMetadata()["token"])
	})
}

func TestIDExtractorSourcesAndKinds(t *testing.T) {
	const form, doc = "application/x-www-form-urlencoded", `<s:r xmlns:s="urn:x"><user id="user-7">x</user></s:r>`
	for _, tc := range []struct {
		from, with         string
		media, header      string
		query, body, value string
	}{
		{"header", "value", "", "role-1 user-7", "", "body", "role-1 user-7"},
		{"header", "regex", "", "role-1 user-7", "", "body", "user-7"},
		{"header", "xpath", "", doc, "", "body", "user-7"},
		{"form", "value", "", "", "?id=user%2D7", "body", "user-7"},
		{"form", "value", form, "", "", "x=%zz&id=user%2D7", "user-7"},
		{"form", "regex", form, "", "", "id=role-1+user-7", "user-7"},
		{"form", "xpath", form, "", "", "id=%3Cuser+id='user-7'/%3E", "user-7"},
		{"body", "regex", "", "", "", "\x00\xff role-1 user-7", "user-7"},
		{"body", "xpath", "text/xml", "", "", doc, "user-7"},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s from %s %s, chunked %t", tc.with, tc.from, tc.media, chunked), func(t *testing.T) {
				config, err := json.Marshal(map[string]any{
					"extract_from": tc.from, "extract_with": tc.with, "extractor_config": map[string]any{
						"header_name": "x-caller", "param_name": "id", "regex_expression": "[a-z]+-[0-9]+",
						"regex_match_index": strings.Count(tc.header+tc.body, "role-1"), "xpath_expression": "//user/@id",
					},
				})
				require.NoError(t, err)
				r := remember(t, string(config), nil, setup{})
				for range 2 {
					var body io.Reader = strings.NewReader(tc.body)
					if chunked {
						body = io.MultiReader(body)
					}
					request, err := http.NewRequest(http.MethodPost, r.url+"/a/x"+tc.query, body)
					require.NoError(t, err)
					request.Header.Set("Content-Type", tc.media)
					request.Header.Set("X-Caller", tc.header)
					answer, err := r.client.Do(request)
					require.NoError(t, err)
					require.NoError(t, answer.Body.Close())
					require.Equal(t, 200, answer.StatusCode)
					require.Equal(t, tc.body, r.up.got().body, "the body reaches the upstream intact")
				}
				require.EqualValues(t, 1, r.runs.Load())
				require.Equal(t, "token-1", r.stored(tc.value).GetMetadata()["token"])
			})
		}
	}
}

func TestIDExtractorFailures(t *testing.T) {
	const missing, ambiguous = "Authorization field missing", "Authorization field ambiguous"
	xml := `{"extract_from": "body", "extract_with": "xpath", "extractor_config": {"xpath_expression": "//user"}}`
	other := strings.Replace(fromHeader, "Authorization", "X-Caller", 1)
	for name, tc := range map[string]struct {
		extractor, query, body string
		header                 []string
		code                   int
		message                string
		events                 []string
	}{
		"header missing":         {fromHeader, "", "", nil, 400, missing, []string{"AuthFailure"}},
		"header empty":           {fromHeader, "", "", []string{"Authorization", " "}, 400, missing, []string{"AuthFailure"}},
		"auth header twice":      {fromHeader, "", "", []string{"Authorization", "secret1", "Authorization", "secret2"}, 400, ambiguous, []string{}},
		"other header twice":     {other, "", "", []string{"X-Caller", "secret1", "X-Caller", "secret2"}, 400, ambiguous, []string{}},
		"form field missing":     {fromForm, "?x=1", "", nil, 400, missing, []string{"AuthFailure"}},
		"form field twice":       {fromForm, "?id=secret1&id=secret2", "", nil, 400, ambiguous, []string{}},
		"no match":               {fromBody, "", "secret", nil, 400, missing, []string{"AuthFailure"}},
		"index out of range":     {strings.Replace(fromBody, `"extractor_config": {`, `"extractor_config": {"regex_match_index": 1, `, 1), "", "user-1", nil, 400, missing, []string{"AuthFailure"}},
		"malformed XML":          {xml, "", "<user>secret", nil, 400, missing, []string{"AuthFailure"}},
		"empty node":             {xml, "", "<user/>", nil, 400, missing, []string{"AuthFailure"}},
		"entity bomb":            {xml, "", `<!DOCTYPE u [<!ENTITY a "lol">]><user>&a;</user>`, nil, 400, missing, []string{"AuthFailure"}},
		"body over search limit": {fromBody, "", strings.Repeat("x", idextract.MaxText+1), nil, 413, "Request body is too large", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := remember(t, tc.extractor, nil, setup{})
			got := r.do(http.MethodPost, "/a/"+tc.query, tc.body, tc.header...)
			require.Equal(t, tc.code, got.code)
			require.JSONEq(t, `{"error": "`+tc.message+`"}`, got.body)
			require.Zero(t, r.runs.Load(), "auth_check is not run")
			require.Zero(t, r.up.count())
			require.Equal(t, tc.events, r.events.names())
			require.NotContains(t, r.logs.String(), "secret")
		})
	}
}

func TestIDExtractorBodiesAreBounded(t *testing.T) {
	t.Run("length", func(t *testing.T) {
		r := remember(t, fromBody, nil, setup{})
		w := dial(t, r.fixture)
		w.send(fmt.Sprintf("POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 16<<20+1))
		require.Equal(t, 413, w.answer().code)
		require.Zero(t, r.runs.Load())
	})
	t.Run("budget", func(t *testing.T) {
		r := remember(t, fromBody, nil, setup{budget: 10})
		got := r.do(http.MethodPost, "/a/", "user-1 and more than ten bytes")
		require.Equal(t, 503, got.code)
		require.Equal(t, "1", got.header.Get("Retry-After"))
		require.Zero(t, r.runs.Load())
	})
	t.Run("cut off", func(t *testing.T) {
		r := remember(t, fromBody, nil, setup{})
		w := dial(t, r.fixture)
		w.send("POST /a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nbroken\r\n")
		require.Equal(t, 400, w.answer().code)
		require.Zero(t, r.runs.Load())
	})
}

// A budget of one byte shows what is buffered.
func TestCachedIdentityStreams(t *testing.T) {
	body := strings.Repeat("x", 17<<20) // more than is ever buffered
	r := remember(t, fromHeader, nil, setup{budget: 1})
	require.Equal(t, 413, r.do(http.MethodPost, "/a/", body, "Authorization", "abc").code, "auth_check is shown the body")
	require.Equal(t, 503, r.do(http.MethodPost, "/a/", "body", "Authorization", "abc").code)
	require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
	require.Equal(t, 200, r.do(http.MethodPost, "/a/", body, "Authorization", "abc").code)
	require.Equal(t, body, r.up.got().body)
	require.EqualValues(t, 1, r.runs.Load())
}

func TestCachedSessionIsChecked(t *testing.T) {
	deadline := time.Now().Add(time.Hour).Unix()
	for name, tc := range map[string]struct {
		session *coprocesspb.SessionState
		code    int
		events  []string
	}{
		"usable":   {&coprocesspb.SessionState{}, 200, []string{}},
		"inactive": {&coprocesspb.SessionState{IsInactive: true}, 403, []string{"KeyExpired"}},
		"expired":  {&coprocesspb.SessionState{Expires: 1}, 401, []string{"KeyExpired"}},
		"no right": {&coprocesspb.SessionState{AccessRights: map[string]*coprocesspb.AccessDefinition{"b": {}}}, 403, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := remember(t, fromHeader, nil, setup{})
			tc.session.OrgId, tc.session.IdExtractorDeadline = "org", deadline
			r.put(tc.session)
			require.Equal(t, tc.code, r.get("/a/", "Authorization", "abc").code)
			require.Zero(t, r.runs.Load())
			require.Equal(t, tc.events, r.events.names())
		})
	}
	t.Run("rate", func(t *testing.T) {
		r := remember(t, fromHeader, func(s *coprocesspb.SessionState) { s.Rate, s.Per = 2, 3600 }, setup{})
		for _, code := range []int{200, 200, 429} {
			require.Equal(t, code, r.get("/a/", "Authorization", "abc").code)
		}
		require.Equal(t, 200, r.get("/a/", "Authorization", "def").code, "another caller")
	})
	t.Run("quota, also when auth_check runs each time with another token", func(t *testing.T) {
		r := remember(t, fromHeader, func(s *coprocesspb.SessionState) { s.QuotaMax, s.IdExtractorDeadline = 2, 0 }, setup{})
		for i, code := range []int{200, 200, 403} {
			require.Equal(t, code, r.get("/a/", "Authorization", "abc").code)
			require.EqualValues(t, i+1, r.runs.Load())
		}
	})
	t.Run("quota counters are kept in the stored session", func(t *testing.T) {
		r := remember(t, fromHeader, func(s *coprocesspb.SessionState) { s.QuotaMax, s.QuotaRemaining = 10, 10 }, setup{})
		r.put(&coprocesspb.SessionState{OrgId: "org", QuotaMax: 10, QuotaRemaining: 3})
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		require.EqualValues(t, 3, r.stored("abc").GetQuotaRemaining())
	})
}

func TestWhoseSessionsAreIdentities(t *testing.T) {
	deadline := time.Now().Add(time.Hour).Unix()
	rights := map[string]*coprocesspb.AccessDefinition{"a": {}, "b": {}, "keys": {}}
	both := func(t *testing.T, change func(*coprocesspb.SessionState)) *remembering {
		t.Helper()
		up := newUpstream(t)
		return remember(t, fromHeader, change, setup{apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, withHooks(custom())),
			definition(t, "b", "/b/", up.URL, withHooks(custom())),
			definition(t, "keys", "/keys/", up.URL, map[string]any{"use_keyless": false}),
		}})
	}
	t.Run("another API's, without access rights, is none", func(t *testing.T) {
		r := both(t, nil)
		for _, path := range []string{"/a/", "/a/", "/b/", "/b/"} {
			require.Equal(t, 200, r.get(path, "Authorization", "abc").code)
		}
		require.EqualValues(t, 2, r.runs.Load())
	})
	t.Run("another API's counts where its access rights say", func(t *testing.T) {
		r := both(t, func(s *coprocesspb.SessionState) { s.AccessRights = rights })
		for _, path := range []string{"/a/", "/b/"} {
			require.Equal(t, 200, r.get(path, "Authorization", "abc").code)
		}
		require.EqualValues(t, 1, r.runs.Load())
	})
	t.Run("an extracted id is no key", func(t *testing.T) {
		r := both(t, func(s *coprocesspb.SessionState) { s.AccessRights = rights })
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		require.Equal(t, 403, r.get("/keys/", "Authorization", idextract.SessionID("org", "abc")).code,
			"or whoever knows a caller's name could make the key")
	})
	t.Run("what is stored under a token is none", func(t *testing.T) {
		up := newUpstream(t)
		r := remember(t, fromHeader, func(s *coprocesspb.SessionState) {
			s.AccessRights = rights
			s.Metadata = map[string]string{"token": idextract.SessionID("org", "abc")}
		}, setup{
			bundles: bundles{
				"b.zip":     `{"driver": "python", "auth_check": {"name": "Auth"}, "id_extractor": ` + fromHeader + `}`,
				"guest.zip": `{"driver": "python", "auth_check": {"name": "Guest"}}`,
			},
			hooks: map[string]hookFunc{"Guest": accept(idextract.SessionID("org", "abc"), func(s *coprocesspb.SessionState) {
				s.AccessRights, s.IdExtractorDeadline = rights, deadline
			})},
			apis: []apidef.Loaded{
				definition(t, "a", "/a/", up.URL, withHooks(custom())),
				definition(t, "b", "/b/", up.URL, withHooks(custom(), map[string]any{"custom_middleware_bundle": "guest.zip"})),
			},
		})
		require.Equal(t, 200, r.get("/b/").code)
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		require.EqualValues(t, 1, r.runs.Load())
	})
	t.Run("an operator's counts", func(t *testing.T) {
		r := both(t, nil)
		r.put(&coprocesspb.SessionState{OrgId: "org", IdExtractorDeadline: deadline})
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		require.Zero(t, r.runs.Load())
	})
	t.Run("one of another organisation is none", func(t *testing.T) {
		r := both(t, nil)
		r.put(&coprocesspb.SessionState{OrgId: "other", IdExtractorDeadline: deadline})
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
		require.EqualValues(t, 1, r.runs.Load())
		require.Equal(t, "other", r.stored("abc").GetOrgId(), "and it is not replaced")
	})
}

func TestPoliciesOfCachedIdentities(t *testing.T) {
	r := remember(t, fromHeader, func(s *coprocesspb.SessionState) { s.ApplyPolicies = []string{"gold"} }, setup{policies: policies(t, gold)})
	for _, left := range []string{"8", "7"} {
		require.Equal(t, left, r.get("/a/", "Authorization", "abc").header.Get("X-RateLimit-Remaining"))
	}
	require.Equal(t, 429, r.get("/a/", "Authorization", "abc").code)
	require.EqualValues(t, 1, r.runs.Load())
	r.SetPolicies(nil)
	require.Equal(t, 403, r.get("/a/", "Authorization", "abc").code, "a policy that is gone is refused")
}

func TestOperatorsManageCachedIdentities(t *testing.T) {
	r := remember(t, fromHeader, func(s *coprocesspb.SessionState) {
		s.AccessRights = map[string]*coprocesspb.AccessDefinition{"a": {}}
	}, setup{})
	const path = "/tyk/keys/org900150983cd24fb0d6963f7d28e17f72"
	get := func() int { return r.get("/a/", "Authorization", "abc").code }
	manage := func(method, body string) string {
		got := r.do(method, path, body, "X-Tyk-Authorization", "topsecret")
		require.Equal(t, 200, got.code, got.body)
		return got.body
	}
	require.Equal(t, 200, get())
	shown := manage(http.MethodGet, "")
	require.NotContains(t, shown, "krait:")
	require.Contains(t, shown, "id_extractor_deadline")

	manage(http.MethodPut, strings.Replace(shown, `"is_inactive":false`, `"is_inactive":true`, 1))
	require.Equal(t, 403, get())
	require.EqualValues(t, 1, r.runs.Load())
	require.Equal(t, "a", r.stored("abc").GetMetadata()["krait:id_extractor_api"], "it does not become a key")

	manage(http.MethodDelete, "")
	require.Equal(t, 200, get())
	require.EqualValues(t, 2, r.runs.Load(), "who is forgotten is asked again")
}

func TestIDExtractorWithoutTheStore(t *testing.T) {
	r := remember(t, fromHeader, nil, setup{sessions: brokenSessions{errors.New("connection refused")}})
	for range 2 {
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
	}
	require.EqualValues(t, 2, r.runs.Load(), "auth_check establishes who calls by itself")
	require.Contains(t, r.logs.String(), "auth_check runs for every request")

	r = remember(t, fromHeader, nil, setup{})
	key := sha256.Sum256([]byte(idextract.SessionID("org", "abc")))
	require.NoError(t, r.store.Set(t.Context(), "session:"+hex.EncodeToString(key[:]), []byte("corrupt"), 0))
	for range 2 {
		require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
	}
	require.EqualValues(t, 1, r.runs.Load(), "a corrupt session is replaced")
}

func TestIDExtractorNeedsAuthChecksConsent(t *testing.T) {
	for name, change := range map[string]func(*coprocesspb.Object){
		"no token": func(obj *coprocesspb.Object) {},
		"refused":  func(obj *coprocesspb.Object) { obj.Request.ReturnOverrides.ResponseCode = 403 },
	} {
		t.Run(name, func(t *testing.T) {
			var runs atomic.Int64
			r := remember(t, fromHeader, nil, setup{
				bundles: bundles{"b.zip": `{"driver": "python", "auth_check": {"name": "No"}, "id_extractor": ` + fromHeader + `}`},
				hooks: map[string]hookFunc{"No": func(_ context.Context, obj *coprocesspb.Object) error {
					runs.Add(1)
					obj.Session = &coprocesspb.SessionState{IdExtractorDeadline: time.Now().Add(time.Hour).Unix()}
					change(obj)
					return nil
				}},
			})
			for range 2 {
				require.Equal(t, 403, r.get("/a/", "Authorization", "abc").code)
			}
			require.EqualValues(t, 2, runs.Load(), "nothing is remembered of who was refused")
			require.Equal(t, []string{"AuthFailure", "AuthFailure"}, r.events.names())
		})
	}
}

func TestIDExtractorOfASerialBundle(t *testing.T) {
	r := remember(t, "", nil, setup{
		bundles: serial(`{"driver": "python", "auth_check": {"name": "Auth"}, "id_extractor": ` + fromHeader + `}`),
	})
	var group sync.WaitGroup
	codes := make(chan int, 16)
	for i := range cap(codes) {
		group.Go(func() { codes <- r.do(http.MethodPost, "/a/", "body", "Authorization", fmt.Sprint(i%4)).code })
	}
	group.Wait()
	close(codes)
	for code := range codes {
		require.Equal(t, 200, code)
	}
	runs := r.runs.Load()
	require.Equal(t, 200, r.do(http.MethodPost, "/a/", "body", "Authorization", "1").code)
	require.Equal(t, "body", r.up.got().body)
	require.Equal(t, runs, r.runs.Load())
}

func TestFirstRequestsAtOnce(t *testing.T) {
	r := remember(t, fromHeader, nil, setup{})
	var group sync.WaitGroup
	codes := make(chan int, 32)
	for range cap(codes) {
		group.Go(func() { codes <- r.get("/a/", "Authorization", "abc").code })
	}
	group.Wait()
	close(codes)
	for code := range codes {
		require.Equal(t, 200, code)
	}
	before := r.runs.Load()
	require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code)
	require.Equal(t, before, r.runs.Load())
}

func TestWhichIDExtractorCounts(t *testing.T) {
	up := newUpstream(t)
	other := strings.Replace(fromHeader, "Authorization", "X-Other", 1)
	off := strings.Replace(fromHeader, "{", `{"disabled": true, `, 1)
	manifest := func(id, more string) string {
		if id != "" {
			id = `, "id_extractor": ` + id
		}
		return `{"driver": "python"` + more + id + `}`
	}
	const auth, keyless = `, "auth_check": {"name": "Auth"}`, `, "pre": [{"name": "Pre1"}]`
	const warning = "id_extractor is without effect"
	own := custom()
	own["custom_middleware"] = json.RawMessage(`{"driver": "grpc", "auth_check": {"name": "Auth"}, "id_extractor": ` + fromHeader + `}`)
	for name, tc := range map[string]struct {
		bundles bundles
		api     map[string]any
		runs    int64
		warning string
	}{
		"the first of several bundles": {
			bundles{"one.zip": manifest(fromHeader, keyless), "two.zip": manifest(other, auth)},
			withHooks(custom(), map[string]any{"custom_middleware_bundle": "one.zip,two.zip"}), 1, "",
		},
		"a disabled one is none": {bundles{"b.zip": manifest(off, auth)}, withHooks(custom()), 2, ""},
		"a disabled one before another": {
			bundles{"one.zip": manifest(off, keyless), "two.zip": manifest(fromHeader, auth)},
			withHooks(custom(), map[string]any{"custom_middleware_bundle": "one.zip,two.zip"}), 1, "",
		},
		"that of an API definition without a bundle": {nil, own, 1, ""},
		"that of an API definition beside a bundle does not": {
			bundles{"b.zip": manifest("", auth)}, withHooks(own), 2, "that of the bundle's manifest counts",
		},
		"none on a keyless API":      {bundles{"b.zip": manifest(fromHeader, auth)}, withHooks(), 0, warning},
		"none without an auth_check": {bundles{"b.zip": manifest(fromHeader, keyless)}, withHooks(), 0, warning},
	} {
		t.Run(name, func(t *testing.T) {
			r := remember(t, "", nil, setup{
				bundles: tc.bundles, hooks: map[string]hookFunc{"Pre1": (&trail{}).hook(nil)},
				apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tc.api)},
			})
			for range 2 {
				require.Equal(t, 200, r.get("/a/", "Authorization", "abc").code, r.logs)
			}
			require.Equal(t, tc.runs, r.runs.Load())
			require.Contains(t, r.logs.String(), tc.warning)
			if tc.warning != warning {
				require.NotContains(t, r.logs.String(), warning)
			}
		})
	}
	t.Run("one that cannot work refuses the API", func(t *testing.T) {
		r := remember(t, `{"extract_from": "body", "extract_with": "value"}`, nil, setup{})
		require.Equal(t, 503, r.get("/a/", "Authorization", "abc").code)
		require.Contains(t, r.logs.String(), "all callers would share one session")
	})
}
