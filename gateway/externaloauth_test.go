package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
)

const opaqueToken = "0b79bab50daca910b000d4f1a2b675d604257e42"

// aliceSession is where the reference looks for the session of alice.
const aliceSession = "org6384e2b2184bcbf58eccf10ca7a6563c"

var jwtSecret = []byte("0123456789abcdef0123456789abcdef")

type members = map[string]any

// tokens are the members of a definition with external OAuth by that provider.
func tokens(provider members, more ...members) members {
	out := members{"use_keyless": false, "external_oauth": members{"enabled": true, "providers": []any{provider}}}
	for _, m := range more {
		for name, value := range m {
			out[name] = value
		}
	}
	return out
}

// byHMAC is a provider whose JWTs jwtSecret signs.
func byHMAC() members {
	return members{"jwt": members{
		"enabled": true, "signing_method": "hmac", "source": base64.StdEncoding.EncodeToString(jwtSecret), "identity_base_field": "sub",
	}}
}

// introspectedAt is a provider that is asked at url.
func introspectedAt(url string, more members) members {
	in := members{
		"enabled": true, "url": url, "client_id": "krait", "client_secret": "hunter2", "request_timeout": 1,
		"cache": members{"enabled": true, "timeout": 60},
	}
	for name, value := range more {
		in[name] = value
	}
	return members{"introspection": in}
}

func signedJWT(claims members) string {
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(claims)).SignedString(jwtSecret)
	if err != nil {
		panic(err)
	}
	return text
}

// idp is an identity provider that counts its introspections.
type idp struct {
	*httptest.Server
	hits   atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newIDP(t *testing.T, answer http.HandlerFunc) *idp {
	t.Helper()
	p := &idp{}
	p.answer.Store(&answer)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.hits.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		(*p.answer.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func answering(media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = io.WriteString(w, body)
	}
}

func activeFor(sub string) http.HandlerFunc {
	return answering("application/json", fmt.Sprintf(`{"active": true, "sub": %q, "exp": %d}`, sub, time.Now().Add(time.Hour).Unix()))
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestExternalOAuthByJWT(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(byHMAC()))}})
	soon, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	good := signedJWT(members{"sub": "alice", "exp": soon})
	for _, tc := range []struct {
		name, token string
		code        int
		challenge   string
	}{
		{"valid", "Bearer " + good, 200, ""},
		{"valid, scheme in lower case", "bearer " + good, 200, ""},
		{"valid, without a scheme", good, 200, ""},
		{"missing", "", 400, ""},
		{"scheme only, which net/http trims", "Bearer ", 401, "The access token is not valid"},
		{"expired", "Bearer " + signedJWT(members{"sub": "alice", "exp": past}), 401, "The access token expired"},
		{"not yet valid", "Bearer " + signedJWT(members{"sub": "alice", "nbf": soon}), 401, "The access token is not valid yet"},
		{"no identity", "Bearer " + signedJWT(members{"exp": soon}), 401, "The access token is not valid"},
		{"identity with a line break", "Bearer " + signedJWT(members{"sub": "x\r\nX-Admin: 1"}), 401, "The access token is not valid"},
		{"opaque", "Bearer " + opaqueToken, 401, "The access token is not valid"},
		{"alg none", "Bearer eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", 401, "The access token is not valid"},
		{"text that is no token", `Bearer "x", error="`, 401, "The access token is not valid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := up.count()
			got := f.get("/a/x", "Authorization", tc.token)
			require.Equal(t, tc.code, got.code, got.body)
			switch tc.code {
			case 200:
				require.Equal(t, tc.token, up.got().header.Get("Authorization"), "the upstream gets what the client sent")
				return
			case 400:
				require.JSONEq(t, `{"error": "Authorization field missing"}`, got.body)
				require.Equal(t, []string{"Bearer"}, got.header.Values("WWW-Authenticate"), "RFC 6750 section 3: no error code")
			case 401:
				require.JSONEq(t, `{"error": "access token is not valid"}`, got.body)
				require.Equal(t, []string{`Bearer error="invalid_token", error_description="` + tc.challenge + `"`}, got.header.Values("WWW-Authenticate"))
			}
			require.Equal(t, before, up.count(), "the upstream is not asked")
		})
	}
	require.Equal(t, 400, f.get("/a/x", "Authorization", "Bearer "+good, "Authorization", "Bearer x").code, "two tokens are none")
	require.NotContains(t, f.logs.String(), good)
	require.NotContains(t, f.logs.String(), opaqueToken)
	require.Contains(t, f.events.names(), "AuthFailure")
}

func TestExternalOAuthTokenOf10MB(t *testing.T) {
	up := newUpstream(t)
	f := newGateway(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(byHMAC()))}})
	// net/http refuses such a request by itself; what is behind it does too.
	r := httptest.NewRequest(http.MethodGet, "/a/x", nil)
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 10<<20))
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	require.Equal(t, 401, w.Code)
	require.Less(t, w.Body.Len(), 100)
	require.Less(t, len(f.logs.String()), 10<<10)
}

func TestExternalOAuthFindsTheTokenWhereTheDefinitionSays(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(byHMAC(), members{"auth_configs": members{
		"externalOAuth": members{"auth_header_name": "X-Token", "use_param": true, "param_name": "access_token", "use_cookie": true, "cookie_name": "tok"},
		"authToken":     members{"auth_header_name": "X-Key"},
	}}))}})
	token := signedJWT(members{"sub": "alice"})
	require.Equal(t, 200, f.get("/a/x", "X-Token", token).code)
	require.Equal(t, 200, f.get("/a/x?access_token="+token).code)
	require.Equal(t, 200, f.get("/a/x", "Cookie", "tok="+token).code)
	require.Equal(t, 400, f.get("/a/x", "Authorization", token).code)

	// The upstream's address is logged when it fails; the token is in it.
	up.Close()
	require.Equal(t, 500, f.get("/a/x?access_token="+token).code)
	require.Contains(t, f.logs.String(), "upstream request failed")
	require.NotContains(t, f.logs.String(), token)
}

func TestExternalOAuthByIntrospection(t *testing.T) {
	up, p := newUpstream(t), newIDP(t, activeFor("alice"))
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(introspectedAt(p.URL, nil)))}})
	for range 1000 {
		require.Equal(t, 200, f.get("/a/x", "Authorization", "Bearer "+opaqueToken).code)
	}
	require.EqualValues(t, 1, p.hits.Load(), "1,000 requests cost one introspection")

	inactive := answering("application/json", `{"active": false}`)
	p.answer.Store(&inactive)
	got := f.get("/a/x", "Authorization", "Bearer another")
	require.Equal(t, 401, got.code)
	require.Contains(t, got.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
	require.Equal(t, 1000, up.count())
	for _, hidden := range []string{opaqueToken, "hunter2"} {
		require.NotContains(t, f.logs.String(), hidden)
	}
}

func TestExternalOAuthFirstRequestsAtOnceCostOneIntrospection(t *testing.T) {
	up := newUpstream(t)
	active := activeFor("alice")
	release := make(chan struct{})
	p := newIDP(t, func(w http.ResponseWriter, r *http.Request) { <-release; active(w, r) })
	f := newGateway(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(introspectedAt(p.URL, members{"request_timeout": 60})))}})
	codes := make(chan int, 1000)
	for range 1000 {
		go func() {
			r := httptest.NewRequest(http.MethodGet, "/a/x", nil)
			r.Header.Set("Authorization", "Bearer "+opaqueToken)
			w := httptest.NewRecorder()
			f.Handler().ServeHTTP(w, r)
			codes <- w.Code
		}()
	}
	require.Eventually(t, func() bool { return p.hits.Load() == 1 }, limit, time.Millisecond)
	close(release)
	for range 1000 {
		require.Equal(t, 200, <-codes)
	}
	require.EqualValues(t, 1, p.hits.Load())
}

func TestExternalOAuthWithAProviderThatGivesNoAnswer(t *testing.T) {
	up := newUpstream(t)
	for name, answer := range map[string]http.HandlerFunc{
		"HTML":           answering("text/html", "<html>"+opaqueToken+"</html>"),
		"active as text": answering("application/json", `{"active": "true", "sub": "alice"}`),
		"active as 1":    answering("application/json", `{"active": 1, "sub": "alice"}`),
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, up.URL, http.StatusTemporaryRedirect)
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"sends 1 GB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			block := make([]byte, 1<<20)
			for range 1 << 10 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t, answer)
			f := start(t, setup{apis: []apidef.Loaded{
				definition(t, "a", "/a/", up.URL, tokens(introspectedAt(p.URL, nil))),
				definition(t, "b", "/b/", up.URL, nil),
			}})
			before := up.count()
			for range 2 {
				got := f.get("/a/x", "Authorization", "Bearer "+opaqueToken)
				require.Equal(t, 500, got.code)
				require.JSONEq(t, `{"error": "error happened during the access token validation"}`, got.body)
				require.Empty(t, got.header.Get("WWW-Authenticate"))
			}
			require.Equal(t, before, up.count())
			require.Equal(t, 1, strings.Count(f.logs.String(), "token cannot be checked"), "it is logged, but not for each request")
			require.NotContains(t, f.logs.String(), opaqueToken)
			require.Equal(t, 200, f.get("/b/x").code, "other APIs are not affected")
		})
	}
}

func TestExternalOAuthSessions(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(byHMAC()))}})
	sessions := session.NewStore(f.store)
	call := func() answer {
		return f.get("/a/x", "Authorization", "Bearer "+signedJWT(members{"sub": "alice"}))
	}
	put := func(s *coprocesspb.SessionState) {
		require.NoError(t, sessions.Put(t.Context(), aliceSession, s, 0))
	}
	for range 20 {
		require.Equal(t, 200, call().code, "a caller without a session has no limits")
	}
	_, err := sessions.Get(t.Context(), aliceSession)
	require.Error(t, err, "nothing is stored for such a caller")

	put(&coprocesspb.SessionState{OrgId: "org", Rate: 2, Per: 60})
	require.Equal(t, 200, call().code)
	require.Equal(t, 200, call().code)
	require.Equal(t, 429, call().code, "the stored session brings its limits")
	bob := f.get("/a/x", "Authorization", "Bearer "+signedJWT(members{"sub": "bob"}))
	require.Equal(t, 200, bob.code, "to nobody else")

	put(&coprocesspb.SessionState{OrgId: "org", QuotaMax: 7, QuotaRenewalRate: 3600})
	require.Equal(t, "6", call().header.Get("X-RateLimit-Remaining"))

	for name, tc := range map[string]struct {
		session *coprocesspb.SessionState
		code    int
	}{
		"inactive":               {&coprocesspb.SessionState{OrgId: "org", IsInactive: true}, 403},
		"rights elsewhere only":  {&coprocesspb.SessionState{OrgId: "org", AccessRights: map[string]*coprocesspb.AccessDefinition{"b": {}}}, 403},
		"another organisation's": {&coprocesspb.SessionState{OrgId: "other"}, 403},
		"made by an auth_check": {&coprocesspb.SessionState{
			OrgId: "org", Metadata: map[string]string{"krait:auth_check_api": "a"},
			AccessRights: map[string]*coprocesspb.AccessDefinition{"a": {}},
		}, 403},
		"made by an auth_check with an ID extractor": {&coprocesspb.SessionState{OrgId: "org", Metadata: map[string]string{"krait:id_extractor_api": "a"}}, 403},
		"policy that is unknown":                     {&coprocesspb.SessionState{OrgId: "org", ApplyPolicies: []string{"gold"}}, 403},
		"expired":                                    {&coprocesspb.SessionState{OrgId: "org", Expires: 1}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			put(tc.session)
			got := call()
			require.Equal(t, tc.code, got.code)
			if tc.code == 401 {
				require.Contains(t, got.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		put(&coprocesspb.SessionState{OrgId: "org"})
		sum := "session:" + sha256Hex(aliceSession)
		require.NoError(t, f.store.Set(t.Context(), sum, []byte("x"), 0))
		require.Equal(t, 403, call().code)
	})
}

// silentSessions is a session store that gives no answer.
type silentSessions struct{}

func (silentSessions) Get(context.Context, string) (*coprocesspb.SessionState, error) {
	return nil, errors.New("connection refused")
}

func (silentSessions) Put(context.Context, string, *coprocesspb.SessionState, time.Duration) error {
	return errors.New("connection refused")
}

func (silentSessions) Delete(context.Context, string) error { return errors.New("connection refused") }

func TestExternalOAuthWithoutSessionStoreRefuses(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{sessions: silentSessions{}, apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(byHMAC()))}})
	got := f.get("/a/x", "Authorization", "Bearer "+signedJWT(members{"sub": "alice"}))
	require.Equal(t, 503, got.code, "the stored session might lock the caller out")
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Zero(t, up.count())
}

func TestExternalOAuthTellsHooksWhoCalls(t *testing.T) {
	up := newUpstream(t)
	seen := make(chan *coprocesspb.Object, 2)
	see := func(_ context.Context, obj *coprocesspb.Object) error {
		seen <- obj.CloneVT()
		obj.Request.SetHeaders = map[string]string{"X-Claims": obj.GetMetadata()["oauth_claims"]}
		return nil
	}
	f := start(t, setup{
		hooks:   map[string]hookFunc{"See": see},
		bundles: bundles{"b.zip": `{"driver": "python", "post_key_auth": [{"name": "See"}]}`},
		apis:    []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(tokens(byHMAC())))},
	})
	token := signedJWT(members{"sub": "alice", "scope": "a\r\nX-Admin: true", "uid": 12345678901234567})
	require.Equal(t, 200, f.get("/a/x", "Authorization", "Bearer "+token).code)
	obj := <-seen
	require.Equal(t, "alice", obj.GetMetadata()["oauth_identity"])
	var claims map[string]any
	require.NoError(t, json.Unmarshal([]byte(obj.GetMetadata()["oauth_claims"]), &claims))
	require.Equal(t, "a\r\nX-Admin: true", claims["scope"])
	require.Contains(t, obj.GetMetadata()["oauth_claims"], "12345678901234567", "large numbers stay exact")
	require.Equal(t, "org", obj.GetSession().GetOrgId())
	require.NotContains(t, obj.GetMetadata(), "token")
	require.Empty(t, up.got().header.Get("X-Admin"), "claims cannot add headers")
	require.NotEmpty(t, up.got().header.Get("X-Claims"))
}

func TestPhantomTokenGoesToTheUpstream(t *testing.T) {
	phantom := signedJWT(members{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	up := newUpstream(t)
	p := newIDP(t, answering("application/jwt", phantom))
	provider := introspectedAt(p.URL, members{"phantom_token": true, "cache": nil})
	f := start(t, setup{apis: []apidef.Loaded{
		definition(t, "a", "/a/", up.URL, tokens(provider)),
		definition(t, "b", "/b/", up.URL, tokens(provider, members{"auth_configs": members{"externalOAuth": members{
			"auth_header_name": "X-Token", "use_param": true, "param_name": "access_token", "use_cookie": true, "cookie_name": "tok",
		}}})),
	}})
	for range 100 {
		require.Equal(t, 200, f.get("/a/x", "Authorization", "Bearer "+opaqueToken).code)
		require.Equal(t, []string{"Bearer " + phantom}, up.got().header.Values("Authorization"))
	}
	require.EqualValues(t, 1, p.hits.Load(), "it is kept until it expires")

	for name, call := range map[string]func() answer{
		"header":    func() answer { return f.get("/b/x?q=1", "X-Token", "Bearer "+opaqueToken) },
		"parameter": func() answer { return f.get("/b/x?a=%20&access_token=" + opaqueToken + "&acc%65ss_token=x&b") },
		"cookie": func() answer {
			return f.get("/b/x", "Cookie", "a=1; tok="+opaqueToken+"; b=2", "Authorization", "Basic x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, 200, call().code)
			got := up.got()
			require.Equal(t, []string{"Bearer " + phantom}, got.header.Values("Authorization"))
			require.NotContains(t, got.uri+fmt.Sprint(got.header), opaqueToken, "the token itself stays outside")
		})
	}
	require.Equal(t, 200, f.get("/b/x?a=%20&access_token="+opaqueToken+"&b").code)
	require.Equal(t, "/x?a=%20&b", up.got().uri)
	require.Equal(t, 200, f.get("/b/x", "Cookie", "a=1; tok="+opaqueToken+"; b=2").code)
	require.Equal(t, "a=1; b=2", up.got().header.Get("Cookie"))

	var inactive http.HandlerFunc = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	p.answer.Store(&inactive)
	require.Equal(t, 401, f.get("/a/x", "Authorization", "Bearer other").code)
}

func TestExternalOAuthThatCannotBeSetUpRefusesTheAPI(t *testing.T) {
	up := newUpstream(t)
	provider := introspectedAt("https://idp.invalid/", members{"tls": members{"ca_file": "/nowhere/ca.pem"}})
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, tokens(provider))}})
	require.Equal(t, 503, f.get("/a/x", "Authorization", "Bearer x").code)
	require.Contains(t, f.logs.String(), "tls.ca_file")
	require.Zero(t, up.count())
}
