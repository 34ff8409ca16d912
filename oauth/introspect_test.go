package oauth_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
)

// asking is a provider that introspects at url.
func asking(url string, more ...func(*apidef.OAuthIntrospection)) apidef.OAuthProvider {
	p := apidef.OAuthProvider{Introspection: apidef.OAuthIntrospection{
		Enabled: true, URL: url, ClientID: "krait", ClientSecret: "hunter2", RequestTimeout: 5,
	}}
	for _, change := range more {
		change(&p.Introspection)
	}
	return p
}

const opaque = "0b79bab50daca910b000d4f1a2b675d604257e42"

func TestIntrospectionRequest(t *testing.T) {
	odd := func(i *apidef.OAuthIntrospection) { i.ClientID, i.ClientSecret = "my client:1", "p&ss/word+ü" }
	basic := func(i *apidef.OAuthIntrospection) { i.ClientAuth = apidef.ClientAuthBasic }
	for _, tc := range []struct {
		name   string
		change []func(*apidef.OAuthIntrospection)
		form   map[string][]string
		user   string // of HTTP Basic, as sent
		pass   string
	}{
		{"form, as the reference", nil, map[string][]string{"token": {opaque}, "client_id": {"krait"}, "client_secret": {"hunter2"}}, "", ""},
		{
			"form with special characters",
			[]func(*apidef.OAuthIntrospection){odd},
			map[string][]string{"token": {opaque}, "client_id": {"my client:1"}, "client_secret": {"p&ss/word+ü"}},
			"", "",
		},
		{
			"client without a secret",
			[]func(*apidef.OAuthIntrospection){func(i *apidef.OAuthIntrospection) { i.ClientSecret = "" }},
			map[string][]string{"token": {opaque}, "client_id": {"krait"}},
			"", "",
		},
		{"Basic", []func(*apidef.OAuthIntrospection){basic}, map[string][]string{"token": {opaque}}, "krait", "hunter2"},
		{
			"Basic with special characters",
			[]func(*apidef.OAuthIntrospection){basic, odd},
			map[string][]string{"token": {opaque}},
			"my+client%3A1", "p%26ss%2Fword%2B%C3%BC",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t, object(members{"active": true, "sub": "alice"}))
			f := newChecker(t, asking(p.URL+"/introspect?realm=a", tc.change...), nil)
			require.Equal(t, "alice", f.who(opaque))
			r := p.last.Load()
			require.Equal(t, http.MethodPost, r.Method)
			require.Equal(t, "/introspect?realm=a", r.RequestURI)
			require.Equal(t, "application/json", r.Header.Get("Accept"))
			require.Equal(t, tc.form, map[string][]string(r.PostForm))
			user, pass, ok := r.BasicAuth()
			require.Equal(t, tc.user != "", ok)
			require.Equal(t, tc.user, user)
			require.Equal(t, tc.pass, pass)
		})
	}
}

func TestIntrospectionAnswers(t *testing.T) {
	soon, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	for _, tc := range []struct {
		name, body string
		want       error
	}{
		{"active", `{"active": true, "sub": "alice"}`, nil},
		{"active until later", `{"active": true, "sub": "alice", "exp": ` + itoa(soon) + `}`, nil},
		{"null times", `{"active": true, "sub": "alice", "exp": null, "nbf": null}`, nil},
		{"not active", `{"active": false}`, oauth.ErrInactive},
		{"not active, with claims", `{"active": false, "sub": "alice", "exp": "x"}`, oauth.ErrInactive},
		{"active, but expired", `{"active": true, "sub": "alice", "exp": ` + itoa(past) + `}`, oauth.ErrExpired},
		{"active, but not yet", `{"active": true, "sub": "alice", "nbf": ` + itoa(soon) + `}`, oauth.ErrNotYetValid},
		{"clocks that differ a little", `{"active": true, "sub": "alice", "nbf": ` + itoa(time.Now().Unix()+3) + `}`, nil},
		{"nobody", `{"active": true}`, oauth.ErrNoIdentity},
		{"identity with a line break", `{"active": true, "sub": "alice\r\nX-Admin: 1"}`, oauth.ErrNoIdentity},
		{"active as text", `{"active": "true", "sub": "alice"}`, oauth.ErrUnavailable},
		{"active as a number", `{"active": 1, "sub": "alice"}`, oauth.ErrUnavailable},
		{"active as an object", `{"active": {}, "sub": "alice"}`, oauth.ErrUnavailable},
		{"active null", `{"active": null, "sub": "alice"}`, oauth.ErrUnavailable},
		{"active in other letters", `{"Active": true, "sub": "alice"}`, oauth.ErrUnavailable},
		{"no active", `{"sub": "alice"}`, oauth.ErrUnavailable},
		{"exp as text", `{"active": true, "sub": "alice", "exp": "4102444800"}`, oauth.ErrUnavailable},
		{"exp is negative", `{"active": true, "sub": "alice", "exp": -1}`, oauth.ErrExpired},
		{"exp has a fraction", `{"active": true, "sub": "alice", "exp": ` + itoa(soon) + `.5}`, nil},
		{"exp that no number holds", `{"active": true, "sub": "alice", "exp": 1e999}`, oauth.ErrUnavailable},
		{"exp as a truth value", `{"active": true, "sub": "alice", "exp": true}`, oauth.ErrUnavailable},
		{"sub as a list", `{"active": true, "sub": ["alice"]}`, oauth.ErrNoIdentity},
		// RFC 7519 section 4: the last one counts.
		{"active twice, at last false", `{"active": true, "sub": "alice", "active": false}`, oauth.ErrInactive},
		{"active twice, at last true", `{"active": false, "sub": "mallory", "active": true, "sub": "alice"}`, nil},
		{"error object", `{"error": "invalid_client"}`, oauth.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t, text("application/json", tc.body))
			f := newChecker(t, asking(p.URL), nil)
			if tc.want == nil {
				require.Equal(t, "alice", f.who(opaque))
				return
			}
			f.refused(opaque, tc.want)
		})
	}
}

func TestIntrospectionServerThatMisbehaves(t *testing.T) {
	other := newIDP(t, object(members{"active": true, "sub": "mallory"}))
	for name, handle := range misbehaviours(other.URL) {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t, handle)
			f := newChecker(t, asking(p.URL, func(i *apidef.OAuthIntrospection) { i.RequestTimeout = 1 }), newStore(t))
			began := time.Now()
			f.refused(opaque, oauth.ErrUnavailable)
			require.Less(t, time.Since(began), limit/2)
			require.Zero(t, other.hits.Load(), "the token and the credentials go to nobody else")

			p.answer(object(members{"active": true, "sub": "alice"}))
			require.Equal(t, "alice", f.who(opaque), "a failure is not remembered")
		})
	}
	t.Run("is not there", func(t *testing.T) {
		newChecker(t, asking("http://127.0.0.1:1/introspect?key=hunter2"), nil).refused(opaque, oauth.ErrUnavailable)
	})
}

func TestErrorsTellNoSecrets(t *testing.T) {
	f := newChecker(t, asking("http://127.0.0.1:1/introspect?key=s3cr3t"), nil)
	_, err := f.Check(t.Context(), opaque)
	require.ErrorContains(t, err, "http://127.0.0.1:1/introspect: ")
	for _, hidden := range []string{"s3cr3t", "hunter2", opaque} {
		require.NotContains(t, err.Error(), hidden)
	}
	p := newIDP(t, text("text/html", "<html>token "+opaque+" is bad</html>"))
	_, err = newChecker(t, asking(p.URL), nil).Check(t.Context(), opaque)
	require.ErrorContains(t, err, "neither JSON nor a JWT")
	require.NotContains(t, err.Error(), opaque)
}

func TestCallerWhoHangsUpDoesNotFailTheOthers(t *testing.T) {
	release := make(chan struct{})
	active := object(members{"active": true, "sub": "alice"})
	p := newIDP(t, nil)
	p.answer(func(w http.ResponseWriter, r *http.Request) { <-release; active(w, r) })
	f := newChecker(t, asking(p.URL), nil)

	ctx, hangUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := f.Check(ctx, opaque); first <- err }()
	require.Eventually(t, func() bool { return p.hits.Load() == 1 }, limit, time.Millisecond)
	second := make(chan error, 1)
	go func() { _, err := f.Check(context.Background(), opaque); second <- err }()
	hangUp()
	require.ErrorIs(t, <-first, context.Canceled)
	close(release)
	require.NoError(t, <-second)
}

func TestCloseEndsWhatRuns(t *testing.T) {
	p := newIDP(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f := newChecker(t, asking(p.URL, func(i *apidef.OAuthIntrospection) { i.RequestTimeout = 60 }), nil)
	ended := make(chan error, 1)
	go func() { _, err := f.Check(context.Background(), opaque); ended <- err }()
	require.Eventually(t, func() bool { return p.hits.Load() == 1 }, limit, time.Millisecond)
	f.Close()
	require.ErrorIs(t, <-ended, oauth.ErrClosed)
	_, err := f.Check(t.Context(), opaque)
	require.ErrorIs(t, err, oauth.ErrClosed)
	f.Close()
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(object(members{"active": true, "sub": "alice"}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))

	newChecker(t, asking(server.URL), nil).refused(opaque, oauth.ErrUnavailable)
	trusting := func(set apidef.OAuthTLS) apidef.OAuthProvider {
		return asking(server.URL, func(i *apidef.OAuthIntrospection) { i.TLS = set })
	}
	require.Equal(t, "alice", newChecker(t, trusting(apidef.OAuthTLS{CAFile: ca}), nil).who(opaque))
	require.Equal(t, "alice", newChecker(t, trusting(apidef.OAuthTLS{InsecureSkipVerify: true}), nil).who(opaque))
}
