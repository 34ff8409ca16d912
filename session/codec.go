package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/krait-gateway/krait/coprocesspb"
)

// A stored session is one byte with the format's version, the CRC-32C of the
// message (big endian), and the protobuf message. Protobuf alone accepts a value
// that was cut off or emptied, and reads what is missing as the default: an
// active session that never expires and may use everything.
const (
	formatVersion = 1
	headerLen     = 1 + 4
)

var errNoState = errors.New("no session given")

func encode(state *coprocesspb.SessionState) ([]byte, error) {
	if state == nil {
		return nil, errNoState
	}
	data := make([]byte, headerLen+state.SizeVT())
	n, err := state.MarshalToSizedBufferVT(data[headerLen:])
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if n != len(data)-headerLen {
		return nil, fmt.Errorf("encode: %d bytes in place of %d: the session was changed meanwhile", n, len(data)-headerLen)
	}
	data[0] = formatVersion
	binary.BigEndian.PutUint32(data[1:headerLen], checksum(data[headerLen:]))
	return data, nil
}

func decode(data []byte) (*coprocesspb.SessionState, error) {
	if len(data) < headerLen {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrCorrupt, len(data))
	}
	if data[0] != formatVersion {
		return nil, fmt.Errorf("%w: format %d is not known, only %d is", ErrCorrupt, data[0], formatVersion)
	}
	body := data[headerLen:]
	if binary.BigEndian.Uint32(data[1:headerLen]) != checksum(body) {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrCorrupt)
	}
	state := new(coprocesspb.SessionState)
	// Its strings share data, which nobody else has.
	if err := state.UnmarshalVTUnsafe(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return state, nil
}

func checksum(body []byte) uint32 {
	return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
}
