"""Says where the running interpreter's libpython is; prints one JSON object."""

import json
import sys
import sysconfig

library = None
try:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if "/libpython" in path and ".so" in path:
                library = "/" + path
                break
except OSError:
    pass  # not Linux: the configuration variables below have to do

try:
    import google.protobuf

    protobuf = google.protobuf.__version__
except ImportError:
    protobuf = ""

variables = sysconfig.get_config_vars()
json.dump(
    {
        "version": "%d.%d.%d" % sys.version_info[:3],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "base_prefix": sys.base_prefix,
        "mapped": library,
        "library_directories": [
            directory
            for directory in (
                variables.get("LIBDIR"),
                (variables.get("LIBDIR") or "") + "/" + (variables.get("MULTIARCH") or ""),
                variables.get("LIBPL"),
                sys.base_prefix + "/lib",
                sys.base_prefix,
            )
            if directory
        ],
        "library_names": [
            name
            for name in (
                variables.get("INSTSONAME"),
                variables.get("LDLIBRARY"),
                "libpython%d.%d%s.so.1.0" % (*sys.version_info[:2], getattr(sys, "abiflags", "")),
                "libpython%d.%d%s.so" % (*sys.version_info[:2], getattr(sys, "abiflags", "")),
            )
            if name and ".so" in name
        ],
        "protobuf": protobuf,
    },
    sys.stdout,
)
