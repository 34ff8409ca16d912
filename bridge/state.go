package bridge

// State is where a [Runtime] is in its life.
type State int32

// The states, in the order in which they come.
const (
	StateNew State = iota
	StateStarting
	StateReady
	StateDraining
	StateStopped
)

func (s State) String() string {
	switch s {
	case StateNew:
		return "new"
	case StateStarting:
		return "starting"
	case StateReady:
		return "ready"
	case StateDraining:
		return "draining"
	case StateStopped:
		return "stopped"
	default:
		return "unknown"
	}
}
