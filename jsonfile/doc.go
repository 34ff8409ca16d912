// Package jsonfile reads configuration files that people write by hand: JSON
// objects that are bound to structs by their json tags, with every fault of a
// file reported together and at its place.
//
// It is stricter than encoding/json where leniency hides mistakes (duplicate
// members, data after the object, bytes that are not UTF-8, numbers that lose
// digits) and more helpful where it stops at the first problem. Like
// encoding/json it matches member names without regard to letter case and
// leaves a field alone when the member is absent or null.
//
// Values are never repeated in messages, since any of them may be a secret;
// numbers that do not fit a number field are the one exception.
//
// All functions are safe for concurrent use; nothing is kept between calls.
package jsonfile
