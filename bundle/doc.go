// Package bundle builds, signs, inspects, verifies, downloads and unpacks
// plugin bundles (contract section 5): zip files with a manifest.json at their
// root and the plugin's files beside it.
//
// # Checksum and signatures
//
// checksum is the lower-case hex MD5 of the files of file_list, concatenated in
// that order. It is always compared: a bundle whose checksum is missing or
// wrong is refused, with or without a key, because every builder writes it.
//
// signature is the base64 (RFC 4648 section 4, padded) of an RSA PKCS#1 v1.5
// signature over the SHA-256 of the same bytes (RFC 8017 section 8.2).
//
// manifest_signature is made the same way over the manifest payload, which
// covers what signature leaves out: hook names, settings, and where each file
// begins and ends. The payload is this UTF-8 text, each line ended by one LF:
//
//	krait-bundle-v1
//	<canonical manifest>
//	<SHA-256> <length> <name>        one line for each file, as in file_list
//
// The canonical manifest is the JSON of manifest.json without the two top-level
// members "signature" and "manifest_signature", in the form of RFC 8785 (JCS):
// no white space, members sorted by the UTF-16 code units of their names,
// numbers as ECMAScript prints a double, strings with only the escapes \b \t
// \n \f \r \" \\ and \u00xx (lower case) for other control characters. Members
// that krait does not know are part of it. A manifest that has no canonical
// form is refused: duplicate names, text that is not UTF-8, unpaired
// surrogates and U+FFFD, integers beyond 2^53-1 and numbers beyond a double.
// SHA-256 is lower-case hex, length is in bytes and decimal, and name is the
// entry of file_list as a JSON string in the form above.
//
// With a public key a bundle must carry a valid signature; one without files
// signs nothing that way, so it must carry a valid manifest_signature. A
// manifest_signature that is present must be valid, and can be required. Files
// that file_list does not name are not covered by either signature: with a key
// a bundle that has such files is refused, without one they are not unpacked.
//
// # On disk
//
// A [Fetcher] keeps the bundle named N under Dir/<md5 hex of N>:
//
//	Dir/<md5>                          link to the version in service
//	Dir/.krait/v-<random>/<md5>/       the files of one version, never changed
//	Dir/.krait/v-<random>/state.json   ETag and Last-Modified of its download
//	Dir/.krait/replaced-<md5>-<random> what an operator had put at Dir/<md5>
//
// A version is unpacked and verified in its own directory before one rename of
// the link puts it into service, so a half-written bundle is never visible.
// [Bundle].Dir is the version's own directory: code that is already loaded
// keeps importing from the version it came from. A version that is no longer in
// service is removed when the last [Bundle] of it is released; leftovers of a
// process that died are removed by [NewFetcher]. Versions in use are marked by
// a lock on their directory, so several gateways can share Dir. Where the
// system or the file system has no flock, old versions are not removed.
//
// A plain directory at Dir/<md5>, put there by hand or by another gateway, is
// copied to a version of its own and loaded from there, so that the directory
// may be changed at any time; the next Fetch then makes another copy. Where
// nothing can be written it is loaded in place, and refused once it has changed.
// When a download differs from it, it is moved aside, not deleted.
//
// Caches of bytecode (__pycache__) are not copied. With a key, those in a bundle
// on disk are deleted before it is verified: no signature covers them. Dir must
// be writable by the gateway's own user only: what changes a file after it was
// verified is not noticed until the next Fetch.
//
// # Directories that are not built
//
// With a file URL as [Config].BaseURL, a bundle's name may lead to a directory
// with a manifest.json. It is built at each Fetch, as [Build] does it without a
// key, and then treated as any zip. With a public key it is refused.
//
// # Concurrency
//
// A [Fetcher] is safe for concurrent use. A [Bundle], a [Manifest] and a
// [Report] are not modified by this package once returned; [Bundle.Release] may
// be called at any time, from any goroutine, more than once.
package bundle
