package hook_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

func TestReturnOverrides(t *testing.T) {
	type overrides = coprocesspb.ReturnOverrides
	header := map[string]string{"X-A": "1", "Content-Length": "99", "transfer-encoding": "chunked"}
	for name, tt := range map[string]struct {
		in   *overrides
		want *hook.Override
	}{
		"none":       {nil, nil},
		"-1 goes on": {&overrides{ResponseCode: -1, ResponseBody: "x"}, nil},
		"0 goes on":  {&overrides{ResponseError: "x"}, nil},
		"an error code is an authentication failure": {
			&overrides{ResponseCode: 401, ResponseError: "no", Headers: header},
			&hook.Override{Code: 401, Header: map[string]string{"X-A": "1"}, Body: "no", AuthFailure: true},
		},
		"response_body is the message without response_error": {
			&overrides{ResponseCode: 400, ResponseBody: "no"},
			&hook.Override{Code: 400, Header: map[string]string{}, Body: "no", AuthFailure: true},
		},
		"response_error wins over response_body": {
			&overrides{ResponseCode: 500, ResponseError: "error", ResponseBody: "body"},
			&hook.Override{Code: 500, Header: map[string]string{}, Body: "error", AuthFailure: true},
		},
		"the default message": {
			&overrides{ResponseCode: 403},
			&hook.Override{Code: 403, Header: map[string]string{}, Body: "Key not authorised", AuthFailure: true},
		},
		"override_error sends the body as it is": {
			&overrides{ResponseCode: 403, ResponseBody: "<b>", OverrideError: true, Headers: header},
			&hook.Override{Code: 403, Header: map[string]string{"X-A": "1"}, Body: "<b>"},
		},
		"override_error without a body": {
			&overrides{ResponseCode: 403, OverrideError: true},
			&hook.Override{Code: 403, Header: map[string]string{}},
		},
		"a success code": {
			&overrides{ResponseCode: 200, ResponseError: "error", ResponseBody: "body"},
			&hook.Override{Code: 200, Header: map[string]string{}, Body: "error"},
		},
		"399 is no error": {
			&overrides{ResponseCode: 399, ResponseBody: "body"},
			&hook.Override{Code: 399, Header: map[string]string{}, Body: "body"},
		},
		"a code without a body": {
			&overrides{ResponseCode: 204, ResponseBody: "body"},
			&hook.Override{Code: 204, Header: map[string]string{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("POST", "/old", "old")
			out, err := run(t, r, func(o *coprocesspb.Object) {
				o.Request.ReturnOverrides = tt.in
				o.Request.Url = "/new"
			})
			require.NoError(t, err)
			require.Equal(t, tt.want, out.Override)
			if tt.want != nil {
				require.Equal(t, "/old", r.URL.Path, "an overridden request is left alone")
			}
		})
	}
	for name, in := range map[string]*overrides{
		"code below 100":        {ResponseCode: 42},
		"informational code":    {ResponseCode: 100},
		"switching protocols":   {ResponseCode: 101},
		"code above 999":        {ResponseCode: 1000},
		"line break in a value": {ResponseCode: 401, Headers: map[string]string{"X-A": "a\r\nb"}},
		"space in a name":       {ResponseCode: 401, Headers: map[string]string{"X A": "a"}},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			out, err := run(t, newRequest("GET", "/", ""), func(o *coprocesspb.Object) { o.Request.ReturnOverrides = in })
			require.ErrorIs(t, err, coprocess.ErrHook)
			require.ErrorContains(t, err, "request.return_overrides")
			require.Nil(t, out.Override)
		})
	}
}
