// Package config reads the gateway's configuration: tyk.conf as it is written
// for the Tyk gateway, with this project's own keys beside Tyk's, and the
// TYK_GW_* environment variables that override single settings.
//
// Paths are as written: relative ones mean the process's working directory. A
// setting that protects something and that this version does not have is
// refused by name when it is active; what is merely unknown or without effect
// is returned as a warning. Secrets have the type [Secret] and are never part
// of a message.
//
// [Load] keeps nothing between calls and is safe for concurrent use. A Config
// must not be modified once it is shared.
package config
