// Command bench measures krait on the machine it runs on, and writes what it
// found: docs/bench/results.json, and from that the plots beside it and the tables of
// docs/PERFORMANCE.md. make bench builds and starts it.
//
// Everything is measured in several rounds, in which the subjects take turns, so
// that what else the machine does hits all of them alike; ratios are taken within
// a round. A target that is missed is no failure of the program: whether it can
// be met depends on the machine. What could not be measured is.
//
// Servers are processes of its own on loopback, and end with it.
package main
