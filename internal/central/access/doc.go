// Package access decides who may do what with the central system. Everybody, people and services alike, shows a client
// certificate of the central system's own authority; a table says which roles an operation takes, which operations take
// two people, and how much of some may be done in a while. What is not in the table is refused.
//
// A certificate names one person and that person's roles. It counts while the store knows it and does not say that it was
// revoked, which is asked for every request. Two certificates of one name are one person.
package access
