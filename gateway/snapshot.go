package gateway

// snapshot is one complete set of APIs with their routes, never changed.
// [Gateway.arrange] makes one and swaps it in. Its users are the requests that
// it routes, and one for being current; its APIs stay until the last has gone.
type snapshot struct {
	references
	router router
	apis   []served
	byID   map[string]*api // those that have a route
	idle   chan struct{}   // closed when there are no users
}

// served is what serves for one API definition, and what is to be said of it.
type served struct {
	api *api
	// status is one of the states of [APIStatus], reason explains it.
	status, reason string
}

func newSnapshot() *snapshot {
	s := &snapshot{byID: make(map[string]*api), idle: make(chan struct{})}
	s.n.Store(1)
	return s
}

// release counts a request out, or ends being current.
func (s *snapshot) release() {
	if s.drop() {
		close(s.idle)
	}
}

// keep enters what serves for a definition and counts it in.
func (s *snapshot) keep(one served) {
	one.api.take() // its slot has it, so it is there
	s.apis = append(s.apis, one)
}

func (one served) describe() APIStatus {
	a := one.api
	return APIStatus{
		APIID: a.id, Name: a.name, OrgID: a.orgID, ListenPath: a.listenPath, Domain: a.domain,
		Status: one.status, Reason: one.reason, Bundle: a.bundles, Driver: a.state.Load().driver, File: a.file,
	}
}
