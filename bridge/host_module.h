/*
 * host_module.h: the built-in module _krait, by which tyk.gateway reaches the
 * host, and the Go functions behind it (export.go).
 */
#ifndef KRAIT_HOST_MODULE_H
#define KRAIT_HOST_MODULE_H

#include <stddef.h>

/* Bytes with a length. Owner: stated where they are passed. */
struct krait_bytes {
  char *data;
  size_t length;
};

/* What _krait.log passes, in this order. */
enum {
  KRAIT_LOG_LEVEL,
  KRAIT_LOG_MESSAGE,
  KRAIT_LOG_REQUEST_ID,
  KRAIT_LOG_API_ID,
  KRAIT_LOG_BUNDLE,
  KRAIT_LOG_HOOK,
  KRAIT_LOG_FIELDS
};

/* What _krait.trigger_event passes, in this order. */
enum {
  KRAIT_EVENT_NAME,
  KRAIT_EVENT_PAYLOAD,
  KRAIT_EVENT_API_ID,
  KRAIT_EVENT_REQUEST_ID,
  KRAIT_EVENT_FIELDS
};

#endif
