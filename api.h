/*
 * api.h: what plugin code that is compiled or that uses an FFI can call.
 *
 * The gateway binary exports these four functions as dynamic symbols, so they
 * are found with ctypes.CDLL(None) and with "cdef extern" in a Cython module.
 * They may be called from any thread, with or without the interpreter's lock
 * (it is released around the call).
 *
 * All strings are NUL-terminated UTF-8. For values that hold NUL bytes use
 * tyk.store_data and tyk.get_data, which pass lengths.
 */
#ifndef TYK_COPROCESS_API
#define TYK_COPROCESS_API

/* A serialised coprocess.Object. */
struct CoProcessMessage {
  void *p_data; /* owner: stated where the message is passed */
  int length;   /* bytes at p_data */
};

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Keeps value under key in the gateway's store. ttl is in seconds; 0 or less
 * means no expiry. key and value: in, borrowed for the call.
 */
extern void TykStoreData(char *key, char *value, int ttl);

/*
 * Returns what is stored under key, "" when there is nothing, never NULL.
 * key: in, borrowed for the call. The result belongs to the gateway and stays
 * valid until the same thread calls TykGetData again or ends: do not free it,
 * copy what has to live longer.
 */
extern char *TykGetData(char *key);

/* Fires a system event; never blocks. Both: in, borrowed for the call. */
extern void TykTriggerEvent(char *event_name, char *payload);

/*
 * Writes message to the gateway's log. level is debug, info, warning or
 * error; anything else is info. Both: in, borrowed for the call.
 */
extern void CoProcessLog(char *message, char *level);

#ifdef __cplusplus
}
#endif

#endif
