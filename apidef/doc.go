// Package apidef reads API definitions: which path a gateway listens on, where
// requests go, who authenticates them and which hooks run.
//
// [API] is independent of the form in which a definition is written. [Parse]
// fills it from Tyk's classic form or from an OpenAPI document with
// x-tyk-api-gateway, and [LoadDir] does so for a directory. A definition that
// asks for a protection this version does not have is refused with the name of
// the setting, never served without it; what is merely unknown or without
// effect is returned as a warning.
//
// [CustomMiddleware] and its parts are also what a bundle's manifest holds.
//
// All functions are safe for concurrent use and keep nothing between calls. An
// API and everything it points to must not be modified once it is shared.
package apidef
