// Package xmlpath finds the first node of an XML document by an XPath
// expression, where the document comes from a client that nobody has
// authenticated yet.
//
// What a document may cost is bounded: its nodes, its depth, the steps of one
// search, and how many documents are held at a time. Entities other than the
// five of XML are not expanded, so a document cannot grow while it is read, and
// nothing outside of it is opened. The caller bounds its length.
//
// Names in an expression are local names: namespaces are ignored, as the
// reference does. Comments are nodes, processing instructions and the document
// type are left out, sections of character data are text.
//
// # Concurrency
//
// A [Path] is immutable and safe for concurrent use. [Path.First] waits while
// as many documents as there are processors are being searched.
package xmlpath
