package coprocess_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
)

// logHost keeps what is logged; logging fails in the way that fail says.
type logHost struct {
	messages []string
	fail     func()
}

func (h *logHost) StoreData(context.Context, string, []byte, time.Duration) error { return nil }
func (h *logHost) GetData(context.Context, string) ([]byte, error)                { return nil, nil }
func (h *logHost) TriggerEvent(coprocess.Origin, string, string)                  {}

func (h *logHost) Log(_ coprocess.Origin, level, message string) {
	h.messages = append(h.messages, level+": "+message)
	if h.fail != nil {
		h.fail()
	}
}

func bind(t *testing.T, h coprocess.Host) {
	t.Helper()
	unbind, err := coprocess.BindHost(h, coprocess.InterpreterLock{})
	require.NoError(t, err)
	t.Cleanup(unbind)
}

func TestBindHost(t *testing.T) {
	first := &logHost{}
	unbind, err := coprocess.BindHost(first, coprocess.InterpreterLock{})
	require.NoError(t, err)
	_, err = coprocess.BindHost(&logHost{}, coprocess.InterpreterLock{})
	require.ErrorIs(t, err, coprocess.ErrHostBound, "a process has one host")
	unbind()
	unbind() // does nothing

	second := &logHost{}
	bind(t, second)
	unbind() // must not unbind the second
	coprocess.CallHost(coprocess.Origin{}, "log", func(h coprocess.Host) error {
		h.Log(coprocess.Origin{}, "info", "hello")
		return nil
	})
	require.Empty(t, first.messages)
	require.Equal(t, []string{"info: hello"}, second.messages)
}

func TestCallHost(t *testing.T) {
	t.Run("without a host nothing is called", func(t *testing.T) {
		coprocess.CallHost(coprocess.Origin{}, "x", func(coprocess.Host) error {
			t.Error("called")
			return nil
		})
	})
	t.Run("an error ends in the log", func(t *testing.T) {
		h := &logHost{}
		bind(t, h)
		coprocess.CallHost(coprocess.Origin{}, "store_data", func(coprocess.Host) error { return errors.New("no room") })
		require.Equal(t, []string{"error: store_data: no room"}, h.messages)
	})
	t.Run("a panic ends in the log, also when the log panics", func(t *testing.T) {
		h := &logHost{fail: func() { panic("log") }}
		bind(t, h)
		coprocess.CallHost(coprocess.Origin{}, "get_data", func(coprocess.Host) error { panic("host") })
		require.Equal(t, []string{"error: get_data: the host panicked: host"}, h.messages)
	})
}

func TestRequestID(t *testing.T) {
	require.Empty(t, coprocess.RequestID(t.Context()))
	require.Equal(t, "id", coprocess.RequestID(coprocess.WithRequestID(t.Context(), "id")))
}
