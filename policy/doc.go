// Package policy reads policies and applies them to sessions.
//
// A policy is a set of access rights, limits, tags and metadata that any number
// of sessions share by naming it (apply_policies, or the older apply_policy_id).
// It is applied to a session each time the session is used, and never written
// into the stored one: a changed policy holds for the next request.
//
// The file is Tyk's: a JSON object from policy ids to policies. A policy that
// has a fault, or asks for a protection that this version does not have, is
// refused by itself, and with it every session that names it; so is a name that
// no policy has (fail closed).
//
// # How policies combine
//
// Each policy sets all parts of a session, or those that its partitions name:
// access rights (acl), rate_limit and quota. What a part of the session itself
// says is replaced as soon as one policy sets that part. Of several policies:
//
//   - access rights are those of all; at least one policy has to give some
//   - at each API the highest rate and the highest quota of the policies that
//     name it hold; a part that none of them sets is the highest of the session's
//     other policies, or else the session's own
//   - when the rights to different APIs come from different policies, each of
//     these has counters of its own; for an API that several name, the last
//   - an inactive policy makes the session inactive
//   - tags are those of all; metadata of later policies wins, and over the
//     session's
//
// # Concurrency
//
// A [Set] never changes: it is safe for concurrent use. [Set.Apply] changes
// nothing but the session it is given.
package policy
