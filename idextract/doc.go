// Package idextract finds in a request the value that identifies its caller, as
// an id_extractor says (contract section 6), and makes a session id of it.
//
// Which settings are valid is decided by package apidef. The whole value counts:
// "Bearer abc", "bearer abc" and "abc" are three callers, because only plugin
// code knows whether they are one.
//
// Requests come from clients that nobody has authenticated. A value that is
// there more than once is refused, since plugin code or the upstream may take
// another one of them; the text that is searched is bounded by [MaxText]. Errors
// hold nothing of the request.
//
// # Concurrency
//
// An [Extractor] is immutable and safe for concurrent use. With XPath,
// [Extractor.Value] waits while many documents are being searched.
package idextract
