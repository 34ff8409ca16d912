package apidef

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// ErrNoAuthCheck says that no bundle of an API that is to have one has an
// auth_check hook.
var ErrNoAuthCheck = errors.New("a plugin is to authenticate, but there is no auth_check hook, or it is disabled; define custom_middleware.auth_check in the manifest")

// Surroundings is what a definition finds in the gateway that is to serve it.
type Surroundings struct {
	// Drivers are the plugin drivers that are started.
	Drivers []string
	// HealthPath and AdminPath are where the gateway itself answers, before
	// any API: at exactly the first, at and below the second. Both without a
	// trailing slash.
	HealthPath, AdminPath string
}

// Unserved returns why a gateway cannot serve the API although [API.Validate]
// accepts it, as a [*jsonfile.Error], or nil. It looks at the definition only,
// not at its bundles. file goes into the messages.
func (a *API) Unserved(file string, s Surroundings) error {
	v := validator{file: file, form: a.Form}
	path := a.Proxy.ListenPath
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	switch own := strings.TrimRight(path, "/"); {
	case own == "":
	case own == s.HealthPath:
		v.add("proxy.listen_path", "is where the gateway itself answers ("+own+"), before any API",
			"choose another; health_check_endpoint_name of tyk.conf moves the health endpoint")
	case s.AdminPath != "" && strings.HasPrefix(own+"/", s.AdminPath+"/"):
		v.add("proxy.listen_path", "is below "+s.AdminPath+", where the gateway itself answers, before any API", "choose another")
	}
	middleware := &a.CustomMiddleware
	switch {
	case len(a.Bundles) > 0 || !a.NeedsDriver():
		// The hooks of the bundles' manifests count.
	case middleware.Driver == DriverPython:
		v.add("custom_middleware", "names Python functions, but no bundle holds their code", "set "+v.form.Field("custom_middleware_bundle"))
	case !slices.Contains(s.Drivers, middleware.Driver):
		problem, next := missingDriver(middleware.Driver)
		v.add("custom_middleware.driver", problem, next)
	}
	for i, name := range a.Bundles {
		if slices.Contains(a.Bundles[:i], name) {
			v.add("custom_middleware_bundle", fmt.Sprintf("bundle %q is listed twice", name), "list it once")
		}
	}
	return jsonfile.NewError(v.faults)
}

// MissingDriver returns the error for hooks whose driver is not started.
func MissingDriver(driver string) error {
	problem, next := missingDriver(driver)
	return fmt.Errorf("%s; %s", problem, next)
}

func missingDriver(driver string) (problem, next string) {
	problem = fmt.Sprintf("plugin driver %q is not loaded", driver)
	switch driver {
	case DriverPython:
		return problem, "set coprocess_options.enable_coprocess in tyk.conf; if it is set, the log says why Python did not start"
	case DriverGRPC:
		return problem, "set coprocess_options.enable_coprocess and coprocess_options.coprocess_grpc_server in tyk.conf"
	default:
		return problem, "use python or grpc"
	}
}
