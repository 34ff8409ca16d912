// Package hook is the seam between HTTP and plugin messages: it turns an HTTP
// request or response into a coprocesspb.Object, has a coprocess.Dispatcher
// run the plugin code, and applies what the code changed (contract sections 2
// and 3). It decides nothing about replies; errors and overrides are the
// gateway's to answer.
//
// # Differences only
//
// What a hook left as it was sent is not applied at all, so that it reaches
// the upstream byte for byte. Changes to the maps request.headers and
// request.params themselves are ignored; set_headers, delete_headers,
// add_params and delete_params are the ways to change them.
//
// # Bytes that are not UTF-8
//
// Protobuf strings are UTF-8, and Python refuses a message with any other. A
// header value, URL or query value that is not valid UTF-8 is shown to the
// hook as ISO-8859-1, one character for each byte, the charset that HTTP gave
// header fields historically (RFC 9110 section 5.5) and that WSGI uses for the
// same purpose (PEP 3333). A hook that sets such a value to what it was shown
// keeps the original bytes; a new value is sent as UTF-8.
//
// # Concurrency
//
// A Hook is immutable and safe for concurrent use. A Body, the request and the
// response of one call belong to that call.
package hook
