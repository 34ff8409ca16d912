package oauth_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
)

// misbehaviours are servers that give no usable answer. elsewhere is where the
// one that redirects sends its clients.
func misbehaviours(elsewhere string) map[string]http.HandlerFunc {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"active": true, "sub": "mallory"}`)
		}
	}
	return map[string]http.HandlerFunc{
		"HTML":               text("text/html", "<html>Please log in</html>"),
		"JSON cut off":       text("application/json", `{"active": true, "sub": "mal`),
		"JSON of a list":     text("application/json", `[true]`),
		"JSON null":          text("application/json", `null`),
		"two objects":        text("application/json", `{"active": true}{"active": true}`),
		"nothing":            text("application/json", ``),
		"deep nesting":       text("application/json", string(bytes.Repeat([]byte("["), 1<<19))),
		"server error":       status(http.StatusInternalServerError),
		"client not allowed": status(http.StatusUnauthorized),
		"created":            status(http.StatusCreated),
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		},
		"redirects to itself": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		},
		"redirects to another scheme": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"hangs in its answer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"active":`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"sends 1 GB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			block := bytes.Repeat([]byte(" "), 1<<20)
			for range 1 << 10 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, `{"active": true, "sub": "mallory"}`)
		},
		"closes the connection": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		},
	}
}
