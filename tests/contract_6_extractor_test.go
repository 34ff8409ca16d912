package tests_test

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/redisserver"
)

// extracting are the hooks of an API that finds callers as config says. The
// header X-Order tells whether auth_check ran.
func extracting(from, with string, config object) object {
	return object{
		"auth_check": hook("Auth"), "post": hooks("Post"),
		"id_extractor": object{"extract_from": from, "extract_with": with, "extractor_config": config},
	}
}

// known is a script in which auth_check lets the caller in for that long.
func known(token string, during time.Duration) script {
	return letIn(token, &coprocesspb.SessionState{IdExtractorDeadline: time.Now().Add(during).Unix()})
}

// source is an extractor and a way to send it a value.
type source struct {
	hooks object
	send  func(value string) request
}

// sources are all sources and kinds of extractors.
func sources() map[string]source {
	const media, xml = "application/x-www-form-urlencoded", "<e:Envelope xmlns:e='urn:e'><user id='%s'>x</user></e:Envelope>"
	header := func(format string) func(string) request {
		return func(value string) request {
			return request{method: http.MethodPost, body: "a body", headers: []string{"X-Caller", fmt.Sprintf(format, value)}}
		}
	}
	query := func(value string) request {
		return request{method: http.MethodPost, body: "a body", path: "?x=1&caller=" + value}
	}
	form := func(format string) func(string) request {
		return func(value string) request {
			return request{method: http.MethodPost, body: "x=1&caller=" + fmt.Sprintf(format, value), headers: []string{"Content-Type", media}}
		}
	}
	body := func(format string) func(string) request {
		return func(value string) request {
			return request{method: http.MethodPost, body: fmt.Sprintf(format, value)}
		}
	}
	return map[string]source{
		"value-header": {extracting("header", "value", object{"header_name": "X-Caller"}), header("%s")},
		"value-form":   {extracting("form", "value", object{"param_name": "caller"}), form("%s")},
		"value-query":  {extracting("form", "value", object{"param_name": "caller"}), query},
		"regex-header": {extracting("header", "regex", object{"header_name": "X-Caller", "regex_expression": "[a-z0-9-]+", "regex_match_index": 1}), header("Caller %s")},
		"regex-form":   {extracting("form", "regex", object{"param_name": "caller", "regex_expression": "[a-z]+-[a-z]+"}), form("id:+%s")},
		"regex-body":   {extracting("body", "regex", object{"regex_expression": "[a-z]+-[a-z]+"}), body("\x00\xff %s \xfe")},
		"xpath-header": {extracting("header", "xpath", object{"header_name": "X-Caller", "xpath_expression": "//user/@id"}), header(xml)},
		"xpath-form":   {extracting("form", "xpath", object{"param_name": "caller", "xpath_expression": "/user"}), form("%%3Cuser%%3E%s%%3C/user%%3E")},
		"xpath-body":   {extracting("body", "xpath", object{"xpath_expression": "//user/@id"}), body(xml)},
	}
}

// TestContract6IDExtractor is section 6 of the plugin contract.
func TestContract6IDExtractor(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	ways := sources()
	for name, way := range ways {
		p.api(name, way.hooks, nil)
	}
	off := extracting("header", "value", object{"header_name": "X-Caller"})
	off["id_extractor"].(object)["disabled"] = true
	p.api("disabled", off, nil)
	own := extracting("header", "value", object{"header_name": "X-Caller"})
	own["driver"] = "grpc"
	p.site.api("grpc-own", p.upstream, object{"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware": own})
	for name, extractor := range map[string]object{
		"everybody":   {"extract_from": "body", "extract_with": "value"},
		"bad-xpath":   {"extract_from": "body", "extract_with": "xpath", "extractor_config": object{"xpath_expression": "//user["}},
		"bad-regex":   {"extract_from": "body", "extract_with": "regex", "extractor_config": object{"regex_expression": "("}},
		"no-source":   {"extract_from": "cookie", "extract_with": "value"},
		"half-filled": {"extract_from": "header", "extract_with": "value"},
	} {
		p.site.api(name, p.upstream, object{
			"use_keyless": false, "enable_coprocess_auth": true,
			"custom_middleware": object{"driver": "grpc", "auth_check": hook("Auth"), "id_extractor": extractor},
		})
	}
	p.start()
	// ran reports whether auth_check ran for what the upstream got.
	ran := func(got seen) bool { return strings.Contains(got.Header.Get("X-Order"), "Auth") }

	for name, way := range ways {
		p.row(t, name+": a known caller is let in without auth_check, the body reaches the upstream intact", func(t *testing.T, c caller) {
			r := way.send("al-ice")
			r.script = known("token-of-alice", time.Hour)
			require.True(t, ran(c.give(name, r)))
			for range 3 {
				r.script = telling("Post")
				got := c.give(name, r)
				require.False(t, ran(got))
				require.Equal(t, r.body, string(got.Body))
				require.EqualValues(t, len(r.body), got.Length)
				require.Equal(t, "token-of-alice", shown(t, got.Header, "Post").GetMetadata()["token"], "hooks see the stored session")
			}
			r = way.send("bo-b")
			r.script = telling("Post")
			require.Equal(t, http.StatusForbidden, c.send(name, r).status, "auth_check runs for others")
		})
	}
	p.row(t, "extraction failure: 400, the plugin is not run", func(t *testing.T, c caller) {
		for name, r := range map[string]request{
			"value-header": {}, "value-form": {path: "?x=1"}, "regex-header": {headers: []string{"X-Caller", "one"}},
			"regex-body": {method: http.MethodPost, body: "1"}, "xpath-header": {headers: []string{"X-Caller", "<user/>"}},
			"xpath-form": {path: "?caller=x"}, "xpath-body": {method: http.MethodPost, body: "<user id='1'>"},
		} {
			r.script = letIn("token", nil)
			got := c.send(name, r)
			require.Equal(t, http.StatusBadRequest, got.status, name)
			require.JSONEq(t, `{"error": "Authorization field missing"}`, got.body, name)
		}
		twice := c.send("value-header", request{headers: []string{"X-Caller", "a", "X-Caller", "b"}, script: letIn("token", nil)})
		require.Equal(t, http.StatusBadRequest, twice.status)
		require.JSONEq(t, `{"error": "Authorization field ambiguous"}`, twice.body)
	})
	p.row(t, "session id: org id and md5 of the value", func(t *testing.T, c caller) {
		value := "Bearer of-" + c.driver
		r := ways["value-header"].send(value)
		r.script = known("token-of-"+c.driver, time.Hour)
		c.give("value-header", r)
		sum := md5.Sum([]byte(value))
		require.Equal(t, "token-of-"+c.driver, p.g.key("default" + hex.EncodeToString(sum[:]))["meta_data"].(object)["token"])
		r = ways["value-header"].send(strings.TrimPrefix(value, "Bearer "))
		r.script = known("another", time.Hour)
		require.True(t, ran(c.give("value-header", r)), "another spelling is another caller")
	})
	p.row(t, "the plugin runs again after id_extractor_deadline", func(t *testing.T, c caller) {
		r := ways["value-header"].send("short-" + c.driver)
		r.script = known("first", 2*time.Second)
		require.True(t, ran(c.give("value-header", r)))
		require.Eventually(t, func() bool {
			r.script = known("second", time.Hour)
			return ran(c.give("value-header", r))
		}, patience, 100*time.Millisecond)
		require.False(t, ran(c.give("value-header", r)))
	})
	p.row(t, "without a deadline the plugin runs each time", func(t *testing.T, c caller) {
		r := ways["value-header"].send("none-" + c.driver)
		r.script = letIn("token", nil)
		for range 2 {
			require.True(t, ran(c.give("value-header", r)))
		}
	})
	p.row(t, "the cached session is checked and counted", func(t *testing.T, c caller) {
		r := ways["value-header"].send("counted-" + c.driver)
		r.script = letIn("token", &coprocesspb.SessionState{IdExtractorDeadline: time.Now().Add(time.Hour).Unix(), QuotaMax: 2, QuotaRenewalRate: 3600})
		for _, status := range []int{200, 200, 403} {
			require.Equal(t, status, c.send("value-header", r).status)
		}
	})
	p.row(t, "disabled", func(t *testing.T, c caller) {
		for range 2 {
			require.True(t, ran(c.give("disabled", request{script: known("token", time.Hour)})))
		}
	})
	t.Run("hooks and extractor of an API definition without a bundle", func(t *testing.T) {
		for _, want := range []bool{true, false} {
			headers := append(known("token", time.Hour).header(t), "X-Caller", "own")
			require.Equal(t, want, ran(p.g.get("/grpc-own/", headers...).echoed(t)))
		}
	})
	t.Run("any other combination is a configuration error at load", func(t *testing.T) {
		requireRefused(t, p.g, "everybody", "all callers would share one session")
		requireRefused(t, p.g, "bad-xpath", "xpath_expression")
		requireRefused(t, p.g, "bad-regex", "regex_expression")
		requireRefused(t, p.g, "no-source", "extract_from")
		requireRefused(t, p.g, "half-filled", "header_name")
	})
	require.NoError(t, p.g.stop())
}

// A known caller's body streams when no other hook needs it; see also section 1.
func TestContract6KnownCallersStream(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	parts := make(chan string, 1)
	hooks := extracting("header", "value", object{"header_name": "X-Caller"})
	delete(hooks, "post")
	p.upstream = reportingUpstream(t, parts)
	p.api("stream", hooks, nil)
	p.start()
	p.row(t, "the body is there before the client has sent all", func(t *testing.T, c caller) {
		headers := append(known("token", time.Hour).header(t), "X-Caller", c.driver)
		require.Equal(t, http.StatusOK, p.g.send(http.MethodPost, "/"+c.driver+"-stream/", strings.NewReader("seen by auth_check"), headers...).status)
		require.Equal(t, "seen by auth_check", <-parts)
		body, send := io.Pipe()
		answered := make(chan error, 1)
		go func() {
			_, err := p.g.try(http.MethodPost, "/"+c.driver+"-stream/", body, "X-Caller", c.driver)
			answered <- err
		}()
		_, err := io.WriteString(send, "first part")
		require.NoError(t, err)
		require.Equal(t, "first part", <-parts)
		require.NoError(t, send.Close())
		require.NoError(t, <-answered)
	})
}

// Gateways on one Redis know each other's callers.
func TestContract6SharedIdentities(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	var gateways []*probe
	for range 2 {
		p := newProbe(t)
		p.conf["storage"] = object{"type": "redis", "host": "127.0.0.1", "port": server.Port()}
		p.api("a", extracting("header", "value", object{"header_name": "X-Caller"}), nil)
		gateways = append(gateways, p.start())
	}
	for _, driver := range via {
		for i, p := range gateways {
			got := caller{t, p, driver}.give("a", request{headers: []string{"X-Caller", driver}, script: known("token", time.Hour)})
			require.Equal(t, i == 0, strings.Contains(got.Header.Get("X-Order"), "Auth"))
		}
	}
}
