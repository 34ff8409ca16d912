package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The clients.
const (
	appID         = "demo-app" // gets tokens
	appSecret     = "demo-app-secret"
	gatewayID     = "gateway" // introspects
	gatewaySecret = "gateway-secret"
)

const (
	grantPath         = "/oauth/token"
	introspectionPath = "/oauth/introspect"
	revocationPath    = "/oauth/revoke"
)

// client is what the library wants to know of one; of the interface only the
// methods below are called by the endpoints that exist here.
type client struct {
	op.Client
	id, secret string
	grants     []oidc.GrantType
}

func (c *client) GetID() string                { return c.id }
func (c *client) AuthMethod() oidc.AuthMethod  { return oidc.AuthMethodBasic }
func (c *client) GrantTypes() []oidc.GrantType { return c.grants }

// token is what the server knows of an access token.
type token struct {
	client          string
	scopes          []string
	issued, expires time.Time
}

// server keeps its tokens in memory. It is safe for concurrent use.
type server struct {
	op.UnimplementedServer
	issuer   string
	lifetime time.Duration
	clients  map[string]*client

	mutex  sync.Mutex
	tokens map[string]token
}

func newServer(issuer string, lifetime time.Duration) *server {
	return &server{
		issuer:   issuer,
		lifetime: lifetime,
		clients: map[string]*client{
			appID:     {id: appID, secret: appSecret, grants: []oidc.GrantType{oidc.GrantTypeClientCredentials}},
			gatewayID: {id: gatewayID, secret: gatewaySecret},
		},
		tokens: map[string]token{},
	}
}

func (s *server) handler(log *slog.Logger) http.Handler {
	return op.RegisterServer(s, op.Endpoints{
		Token:         op.NewEndpoint(grantPath),
		Introspection: op.NewEndpoint(introspectionPath),
		Revocation:    op.NewEndpoint(revocationPath),
	}, op.WithFallbackLogger(log))
}

// VerifyClient authenticates a client by its secret.
func (s *server) VerifyClient(_ context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	return s.verify(r.Data)
}

func (s *server) verify(credentials *op.ClientCredentials) (*client, error) {
	known, ok := s.clients[credentials.ClientID]
	if !ok || subtle.ConstantTimeCompare([]byte(known.secret), []byte(credentials.ClientSecret)) != 1 {
		return nil, oidc.ErrInvalidClient()
	}
	return known, nil
}

// ClientCredentialsExchange issues an opaque token (RFC 6749, 4.4).
func (s *server) ClientCredentialsExchange(
	_ context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest],
) (*op.Response, error) {
	value, now := rand.Text(), time.Now()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	maps.DeleteFunc(s.tokens, func(_ string, t token) bool { return !now.Before(t.expires) })
	s.tokens[value] = token{
		client: r.Client.GetID(), scopes: r.Data.Scope, issued: now, expires: now.Add(s.lifetime),
	}
	return op.NewResponse(&oidc.AccessTokenResponse{
		AccessToken: value, TokenType: oidc.BearerToken,
		ExpiresIn: uint64(s.lifetime.Seconds()), Scope: r.Data.Scope,
	}), nil
}

// Introspect tells what is known of a token (RFC 7662).
func (s *server) Introspect(_ context.Context, r *op.Request[op.IntrospectionRequest]) (*op.Response, error) {
	if _, err := s.verify(r.Data.ClientCredentials); err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	t, ok := s.tokens[r.Data.Token]
	if !ok || !time.Now().Before(t.expires) {
		return op.NewResponse(&oidc.IntrospectionResponse{}), nil
	}
	return op.NewResponse(&oidc.IntrospectionResponse{
		Active: true, Issuer: s.issuer, TokenType: oidc.BearerToken, ClientID: t.client, Subject: t.client,
		Scope: t.scopes, IssuedAt: oidc.FromTime(t.issued), Expiration: oidc.FromTime(t.expires),
	}), nil
}

// Revocation ends a token of the client that asks (RFC 7009).
func (s *server) Revocation(_ context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.tokens[r.Data.Token].client == r.Client.GetID() {
		delete(s.tokens, r.Data.Token)
	}
	return op.NewResponse(nil), nil
}
