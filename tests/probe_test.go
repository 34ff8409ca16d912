package tests_test

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/output"
)

// script tells the hooks of the probe, by their names, what to do. It travels
// in the header X-Script, so that a row of the contract is a few lines. The
// probe is testdata/probe/middleware.py in the gateway, and probeServer behind
// gRPC.
type script map[string]part

type part struct {
	// Change is merged into the message: what it does not name stays.
	// multivalue_headers are replaced.
	Change *coprocesspb.Object
	// Drop are members of response.headers to remove.
	Drop []string
	// Tell makes the hook pass on the message that it was shown; see shown.
	Tell bool
	// Sleep is how many seconds the hook takes.
	Sleep float64
	// Fail is raises, exits or nonsense.
	Fail string
	// Fire is the name of an event to trigger, with the payload "the payload".
	// In Python only.
	Fire string
	// Release makes events of OnSlowEvent, which takes a second, quick.
	Release bool
}

// wirePart is what goes over the wire.
type wirePart struct {
	Change  string   `json:"change,omitempty"` // base64
	Drop    []string `json:"drop,omitempty"`
	Tell    bool     `json:"tell,omitempty"`
	Sleep   float64  `json:"sleep,omitempty"`
	Fail    string   `json:"fail,omitempty"`
	Fire    string   `json:"fire,omitempty"`
	Release bool     `json:"release,omitempty"`
}

const scriptHeader = "X-Script"

// header is the header field that carries s.
func (s script) header(t *testing.T) []string {
	t.Helper()
	parts := map[string]wirePart{}
	for name, p := range s {
		change, err := p.Change.MarshalVT()
		require.NoError(t, err)
		parts[name] = wirePart{base64.StdEncoding.EncodeToString(change), p.Drop, p.Tell, p.Sleep, p.Fail, p.Fire, p.Release}
	}
	data, err := json.Marshal(parts)
	require.NoError(t, err)
	return []string{scriptHeader, base64.StdEncoding.EncodeToString(data)}
}

// changing is a script of one hook that changes the request.
func changing(name string, request *coprocesspb.MiniRequestObject) script {
	return script{name: {Change: &coprocesspb.Object{Request: request}}}
}

// answering is a script of one hook that changes the response.
func answering(name string, response *coprocesspb.ResponseObject) script {
	return script{name: {Change: &coprocesspb.Object{Response: response}}}
}

// letIn is a script in which auth_check accepts the request, with the changes
// of its session.
func letIn(token string, session *coprocesspb.SessionState) script {
	return script{"Auth": {Change: &coprocesspb.Object{Metadata: map[string]string{"token": token}, Session: session}}}
}

// and adds the parts of others to s.
func (s script) and(others ...script) script {
	all := maps.Clone(s)
	for _, other := range others {
		maps.Copy(all, other)
	}
	return all
}

// shown is the message that the hook name was given, from the headers where it
// left it.
func shown(t *testing.T, header http.Header, name string) *coprocesspb.Object {
	t.Helper()
	text := header.Get("X-Shown-" + name)
	require.NotEmpty(t, text, "hook %s told nothing", name)
	data, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	obj := &coprocesspb.Object{}
	require.NoError(t, obj.UnmarshalVT(data))
	return obj
}

// probe is a site whose APIs exist twice, with their hooks in Python and behind
// gRPC.
type probe struct {
	*site
	upstream string
	seen     *output.Buffer
	code     string
	g        *gateway
}

// via are the two ways, as the APIs' names begin.
var via = [...]string{"python", "grpc"}

func newProbe(t *testing.T) *probe {
	t.Helper()
	code, err := os.ReadFile("testdata/probe/middleware.py")
	require.NoError(t, err)
	p := &probe{site: newSite(t), upstream: echo(t), seen: &output.Buffer{}, code: string(code)}
	address, _ := (&probeServer{seen: p.seen}).start(t, "tcp", "127.0.0.1:0")
	p.conf["coprocess_options"].(object)["coprocess_grpc_server"] = "tcp://" + address
	return p
}

// start starts the gateway.
func (p *probe) start() *probe {
	p.t.Helper()
	p.g = p.site.start()
	return p
}

// api makes the APIs python-ID and grpc-ID with hooks (see site.bundle). An
// auth_check makes them protected.
func (p *probe) api(id string, hooks, changes object) {
	p.t.Helper()
	for _, driver := range via {
		name := driver + "-" + id
		given, members := maps.Clone(hooks), object{"custom_middleware_bundle": name + ".zip"}
		given["driver"] = driver
		var files map[string]string
		if driver == "python" {
			files = map[string]string{"middleware.py": p.code}
		}
		p.bundle(name+".zip", given, files)
		if hooks["auth_check"] != nil {
			members["use_keyless"], members["enable_coprocess_auth"] = false, true
		}
		maps.Copy(members, changes)
		p.site.api(name, p.upstream, members)
	}
}

// row runs one row of the contract for both.
func (p *probe) row(t *testing.T, name string, check func(t *testing.T, c caller)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for _, driver := range via {
			t.Run(driver, func(t *testing.T) { check(t, caller{t, p, driver}) })
		}
	})
}

// caller sends requests to the APIs of one driver.
type caller struct {
	t      *testing.T
	probe  *probe
	driver string
}

// request is what a caller sends; zero values are sensible.
type request struct {
	method  string // GET
	path    string // after the listen path
	body    string
	headers []string
	script  script
}

// send sends r to the API that id names.
func (c caller) send(id string, r request) reply {
	c.t.Helper()
	headers := r.headers
	if r.script != nil {
		headers = append(r.script.header(c.t), headers...)
	}
	return c.probe.g.send(cmp.Or(r.method, http.MethodGet), "/"+c.driver+"-"+id+"/"+r.path, strings.NewReader(r.body), headers...)
}

// do is send with a script alone.
func (c caller) do(id string, s script) reply {
	c.t.Helper()
	return c.send(id, request{script: s})
}

// give is what the upstream got of r.
func (c caller) give(id string, r request) seen {
	c.t.Helper()
	return c.send(id, r).echoed(c.t)
}
