package apidef

import "reflect"

// harmless are the fields of [API] that protect nothing: two definitions that
// differ in them only let in the same callers, with the same limits. Hooks and
// bundles are code, which a gateway judges for itself. A field that is not
// listed counts as protection.
func harmless() map[string]bool {
	return map[string]bool{
		"ID": true, "Name": true, "Slug": true, "Active": true, "Form": true,
		"CustomMiddleware": true, // but for what authenticates
		"Bundles":          true, "ConfigData": true, "EventHandlers": true,
		"Proxy": true, // but for its Transport
	}
}

// OtherProtection compares what a and b ask for to protect the API and its
// upstream: who may call, how a caller is known, limits, the time of expiry,
// how the upstream's certificate is checked. It returns the first field in
// which they differ, "" when there is none.
func (a *API) OtherProtection(b *API) string {
	switch mine, other := &a.CustomMiddleware, &b.CustomMiddleware; {
	case a.Proxy.Transport != b.Proxy.Transport:
		return "Proxy.Transport"
	case mine.AuthCheck != other.AuthCheck:
		return "CustomMiddleware.AuthCheck"
	case mine.IDExtractor != other.IDExtractor:
		return "CustomMiddleware.IDExtractor"
	}
	skip := harmless()
	mine, other := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range mine.NumField() {
		name := mine.Type().Field(i).Name
		if !skip[name] && !reflect.DeepEqual(mine.Field(i).Interface(), other.Field(i).Interface()) {
			return name
		}
	}
	return ""
}
