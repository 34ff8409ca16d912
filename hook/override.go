package hook

import (
	"cmp"
	"net/http"

	"github.com/krait-gateway/krait/coprocesspb"
)

// keyNotAuthorised is the message of the standard error body when the hook
// gave none (contract section 3).
const keyNotAuthorised = "Key not authorised"

// readOverride returns what return_overrides asks for, nil for going on.
func readOverride(o *coprocesspb.ReturnOverrides) (*Override, error) {
	code := int(o.GetResponseCode())
	if code <= 0 {
		return nil, nil
	}
	if err := checkStatus("request.return_overrides.response_code", code); err != nil {
		return nil, err
	}
	header := make(map[string]string, len(o.GetHeaders()))
	for _, name := range sortedNames(o.GetHeaders()) {
		value := o.GetHeaders()[name]
		if err := checkField("request.return_overrides.headers", name, value); err != nil {
			return nil, err
		}
		if !isFraming(name) {
			header[name] = value
		}
	}
	out := &Override{
		Code:   code,
		Header: header,
		Body:   cmp.Or(o.GetResponseError(), o.GetResponseBody()),
	}
	switch {
	case code >= http.StatusBadRequest && !o.GetOverrideError():
		out.AuthFailure = true
		out.Body = cmp.Or(out.Body, keyNotAuthorised)
	case !hasBody(code):
		out.Body = ""
	}
	return out, nil
}
