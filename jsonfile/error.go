package jsonfile

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	// File is the name that was given for the file. It may also name
	// another source, such as the environment.
	File string
	// Line and Column say where in the file, counted from 1, the column in
	// characters. They are 0 when Field says it.
	Line, Column int
	// Field is the dotted path of the member, for example
	// custom_middleware.pre[0].name, or "" when the whole file is meant.
	Field string
	// Problem says what is wrong; Next what to do about it.
	Problem, Next string
}

// String returns the fault on one line: file, place, problem; next step.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		b.WriteString(":" + strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column))
	}
	if f.Field != "" {
		b.WriteString(": " + f.Field)
	}
	b.WriteString(": " + f.Problem)
	if f.Next != "" {
		b.WriteString("; " + f.Next)
	}
	return b.String()
}

// Error carries everything that is wrong with a file. It has at least one
// fault.
type Error struct {
	Faults []Fault
}

// Error returns the faults, one a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, fault := range e.Faults {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// NewError returns an [*Error] with faults in the order given, or nil when
// there are none.
func NewError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &Error{Faults: slices.Clone(faults)}
}

// Faults returns what is in err: the faults of an [*Error], nothing for nil,
// and for any other error one fault of file with its text.
func Faults(file string, err error) []Fault {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return slices.Clone(e.Faults)
	}
	return []Fault{{File: file, Problem: err.Error()}}
}
