package telemetry

// Keys of log attributes. All packages use these, so that one request, API or
// bundle can be followed through the whole log with one search.
const (
	// KeyRequestID is the id of the HTTP request, as the client saw it.
	KeyRequestID = "request_id"
	// KeyAPIID and KeyAPIName name the API definition.
	KeyAPIID   = "api_id"
	KeyAPIName = "api_name"
	// KeyOrgID is the organisation of an API or session.
	KeyOrgID = "org_id"
	// KeyBundle is the bundle's name as configured.
	KeyBundle = "bundle"
	// KeyHook and KeyHookType name a plugin function and its place in the
	// chain.
	KeyHook     = "hook"
	KeyHookType = "hook_type"
	// KeyDriver is the plugin driver, python or grpc.
	KeyDriver = "driver"
	// KeyEvent is the name of an event.
	KeyEvent = "event"
	// KeyHandler is the name of an event handler.
	KeyHandler = "handler"
	// KeyError is an error's one-line text.
	KeyError = "error"
	// KeyTraceback is the full Python traceback of a failed hook.
	KeyTraceback = "traceback"
	// KeyFile is a file on disk; KeyField a member in it, as a dotted path.
	KeyFile  = "file"
	KeyField = "field"
	// KeyAction is what was done: added, modified or deleted.
	KeyAction = "action"
	// KeySetting is a configuration key or environment variable.
	KeySetting = "setting"
	// KeyMethod, KeyPath, KeyHost and KeyStatus describe an HTTP exchange.
	KeyMethod = "method"
	KeyPath   = "path"
	KeyHost   = "host"
	KeyStatus = "status"
	// KeyListenPath and KeyTarget are the two ends of a proxied API.
	KeyListenPath = "listen_path"
	KeyTarget     = "target"
	// KeyAddress is a network address, ours or a peer's.
	KeyAddress = "address"
	// KeyClient is the client's IP address.
	KeyClient = "client"
	// KeyDuration is an elapsed time.
	KeyDuration = "duration"
	// KeyTokenHash is [TokenHash] of an access token.
	KeyTokenHash = "token_hash"
	// KeyStore is the driver of the store, memory or redis.
	KeyStore = "store"
	// KeyURL is an address that was fetched, without credentials.
	KeyURL = "url"
	// KeyVersion is a version of krait, Python or a library.
	KeyVersion = "version"
	// KeyCount is a number of things.
	KeyCount = "count"
	// KeySource says which part of the system a message came from; "source"
	// itself is slog's own key.
	KeySource = "origin"
)
