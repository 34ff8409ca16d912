package pylib_test

import (
	"io/fs"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/pylib"
)

func TestFilesHoldsTheModulesAndNothingElse(t *testing.T) {
	var names []string
	err := fs.WalkDir(pylib.Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			require.Contains(t, []string{".", "tyk"}, path.Dir(name))
			require.Equal(t, ".py", path.Ext(name))
			names = append(names, name)
		}
		return err
	})
	require.NoError(t, err)
	for _, name := range []string{
		"gateway.py",
		"coprocess_common_pb2.py",
		"coprocess_mini_request_object_pb2.py",
		"coprocess_object_pb2.py",
		"coprocess_response_object_pb2.py",
		"coprocess_return_overrides_pb2.py",
		"coprocess_session_state_pb2.py",
		"tyk/__init__.py",
		"tyk/_runtime.py",
		"tyk/decorators.py",
		"tyk/event.py",
		"tyk/gateway.py",
		"tyk/object.py",
		"tyk/request.py",
		"tyk/session.py",
	} {
		require.Contains(t, names, name)
	}
}
