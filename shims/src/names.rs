//! Names: of hosts and networks, services and protocols, users and groups.
//!
//! glibc's resolver and its name service modules make their system calls inside the C library, where no shim stands:
//! each function is a blocking section as a whole. What the modules need of stack is theirs to say (glibc's own take
//! some ten KiB, dlopen of one more, and they may be written by anyone), so they run on the worker's.

use std::ffi::{c_char, c_int, c_uchar, c_void};

use libc::{addrinfo, gid_t, group, hostent, passwd, protoent, servent, sigevent, size_t};
use libc::{sockaddr, socklen_t, spwd, timespec, uid_t};

// The C library's `netent`, `rpcent`, `ether_addr`, `__res_state` and `gaicb`, which are only passed on.
type Network = c_void;
type RemoteProgram = c_void;
type EthernetAddress = c_void;
type ResolverState = c_void;
type Request = c_void;

sections! { DNS:
on_workers_stack {
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo,
        result: *mut *mut addrinfo) -> c_int;
    fn getnameinfo(address: *const sockaddr, length: socklen_t, host: *mut c_char, host_length: socklen_t,
        service: *mut c_char, service_length: socklen_t, flags: c_int) -> c_int;
    fn getaddrinfo_a(mode: c_int, list: *mut *mut Request, count: c_int, event: *mut sigevent) -> c_int;
    fn gai_suspend(list: *const *const Request, count: c_int, timeout: *const timespec) -> c_int;

    fn gethostbyname(name: *const c_char) -> *mut hostent;
    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent;
    fn gethostbyaddr(address: *const c_void, length: socklen_t, family: c_int) -> *mut hostent;
    fn gethostent() -> *mut hostent;
    fn gethostbyname_r(name: *const c_char, entry: *mut hostent, buffer: *mut c_char, length: size_t,
        result: *mut *mut hostent, error: *mut c_int) -> c_int;
    fn gethostbyname2_r(name: *const c_char, family: c_int, entry: *mut hostent, buffer: *mut c_char,
        length: size_t, result: *mut *mut hostent, error: *mut c_int) -> c_int;
    fn gethostbyaddr_r(address: *const c_void, address_length: socklen_t, family: c_int,
        entry: *mut hostent, buffer: *mut c_char, length: size_t, result: *mut *mut hostent,
        error: *mut c_int) -> c_int;
    fn gethostent_r(entry: *mut hostent, buffer: *mut c_char, length: size_t, result: *mut *mut hostent,
        error: *mut c_int) -> c_int;

    fn getnetbyname(name: *const c_char) -> *mut Network;
    fn getnetbyaddr(number: u32, family: c_int) -> *mut Network;
    fn getnetent() -> *mut Network;
    fn getnetbyname_r(name: *const c_char, entry: *mut Network, buffer: *mut c_char, length: size_t,
        result: *mut *mut Network, error: *mut c_int) -> c_int;
    fn getnetbyaddr_r(number: u32, family: c_int, entry: *mut Network, buffer: *mut c_char,
        length: size_t, result: *mut *mut Network, error: *mut c_int) -> c_int;
    fn getnetent_r(entry: *mut Network, buffer: *mut c_char, length: size_t, result: *mut *mut Network,
        error: *mut c_int) -> c_int;

    fn getservbyname(name: *const c_char, protocol: *const c_char) -> *mut servent;
    fn getservbyport(port: c_int, protocol: *const c_char) -> *mut servent;
    fn getservent() -> *mut servent;
    fn getservbyname_r(name: *const c_char, protocol: *const c_char, entry: *mut servent,
        buffer: *mut c_char, length: size_t, result: *mut *mut servent) -> c_int;
    fn getservbyport_r(port: c_int, protocol: *const c_char, entry: *mut servent, buffer: *mut c_char,
        length: size_t, result: *mut *mut servent) -> c_int;
    fn getservent_r(entry: *mut servent, buffer: *mut c_char, length: size_t,
        result: *mut *mut servent) -> c_int;

    fn getprotobyname(name: *const c_char) -> *mut protoent;
    fn getprotobynumber(number: c_int) -> *mut protoent;
    fn getprotoent() -> *mut protoent;
    fn getprotobyname_r(name: *const c_char, entry: *mut protoent, buffer: *mut c_char, length: size_t,
        result: *mut *mut protoent) -> c_int;
    fn getprotobynumber_r(number: c_int, entry: *mut protoent, buffer: *mut c_char, length: size_t,
        result: *mut *mut protoent) -> c_int;
    fn getprotoent_r(entry: *mut protoent, buffer: *mut c_char, length: size_t,
        result: *mut *mut protoent) -> c_int;

    fn getpwnam(name: *const c_char) -> *mut passwd;
    fn getpwuid(id: uid_t) -> *mut passwd;
    fn getpwent() -> *mut passwd;
    fn getpwnam_r(name: *const c_char, entry: *mut passwd, buffer: *mut c_char, length: size_t,
        result: *mut *mut passwd) -> c_int;
    fn getpwuid_r(id: uid_t, entry: *mut passwd, buffer: *mut c_char, length: size_t,
        result: *mut *mut passwd) -> c_int;
    fn getpwent_r(entry: *mut passwd, buffer: *mut c_char, length: size_t, result: *mut *mut passwd) -> c_int;
    fn getspnam(name: *const c_char) -> *mut spwd;
    fn getspnam_r(name: *const c_char, entry: *mut spwd, buffer: *mut c_char, length: size_t,
        result: *mut *mut spwd) -> c_int;

    fn getspent() -> *mut spwd;
    fn getspent_r(entry: *mut spwd, buffer: *mut c_char, length: size_t, result: *mut *mut spwd) -> c_int;

    fn getrpcbyname(name: *const c_char) -> *mut RemoteProgram;
    fn getrpcbynumber(number: c_int) -> *mut RemoteProgram;
    fn getrpcent() -> *mut RemoteProgram;
    fn getrpcbyname_r(name: *const c_char, entry: *mut RemoteProgram, buffer: *mut c_char, length: size_t,
        result: *mut *mut RemoteProgram) -> c_int;
    fn getrpcbynumber_r(number: c_int, entry: *mut RemoteProgram, buffer: *mut c_char, length: size_t,
        result: *mut *mut RemoteProgram) -> c_int;
    fn getrpcent_r(entry: *mut RemoteProgram, buffer: *mut c_char, length: size_t,
        result: *mut *mut RemoteProgram) -> c_int;
    fn ether_hostton(name: *const c_char, address: *mut EthernetAddress) -> c_int;
    fn ether_ntohost(name: *mut c_char, address: *const EthernetAddress) -> c_int;

    fn getgrnam(name: *const c_char) -> *mut group;
    fn getgrgid(id: gid_t) -> *mut group;
    fn getgrent() -> *mut group;
    fn getgrnam_r(name: *const c_char, entry: *mut group, buffer: *mut c_char, length: size_t,
        result: *mut *mut group) -> c_int;
    fn getgrgid_r(id: gid_t, entry: *mut group, buffer: *mut c_char, length: size_t,
        result: *mut *mut group) -> c_int;
    fn getgrent_r(entry: *mut group, buffer: *mut c_char, length: size_t, result: *mut *mut group) -> c_int;
    fn getgrouplist(user: *const c_char, group: gid_t, groups: *mut gid_t, count: *mut c_int) -> c_int;
    fn setnetgrent(group: *const c_char) -> c_int;
    fn getnetgrent(host: *mut *mut c_char, user: *mut *mut c_char, domain: *mut *mut c_char) -> c_int;
    fn getnetgrent_r(host: *mut *mut c_char, user: *mut *mut c_char, domain: *mut *mut c_char, buffer: *mut c_char,
        length: size_t) -> c_int;
    fn innetgr(group: *const c_char, host: *const c_char, user: *const c_char,
        domain: *const c_char) -> c_int;

    fn res_query(name: *const c_char, class: c_int, kind: c_int, answer: *mut c_uchar,
        length: c_int) -> c_int;
    fn res_search(name: *const c_char, class: c_int, kind: c_int, answer: *mut c_uchar,
        length: c_int) -> c_int;
    fn res_querydomain(name: *const c_char, domain: *const c_char, class: c_int, kind: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int;
    fn res_send(message: *const c_uchar, message_length: c_int, answer: *mut c_uchar, length: c_int) -> c_int;
    fn res_nquery(state: *mut ResolverState, name: *const c_char, class: c_int, kind: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int;
    fn res_nsearch(state: *mut ResolverState, name: *const c_char, class: c_int, kind: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int;
    fn res_nquerydomain(state: *mut ResolverState, name: *const c_char, domain: *const c_char,
        class: c_int, kind: c_int, answer: *mut c_uchar, length: c_int) -> c_int;
    fn res_nsend(state: *mut ResolverState, message: *const c_uchar, message_length: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int;
}
}

// What <resolv.h> made of those names before glibc 2.34.
aliases! {
    fn __res_query(name: *const c_char, class: c_int, kind: c_int, answer: *mut c_uchar,
        length: c_int) -> c_int = res_query;
    fn __res_search(name: *const c_char, class: c_int, kind: c_int, answer: *mut c_uchar,
        length: c_int) -> c_int = res_search;
    fn __res_querydomain(name: *const c_char, domain: *const c_char, class: c_int, kind: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int = res_querydomain;
    fn __res_send(message: *const c_uchar, message_length: c_int, answer: *mut c_uchar,
        length: c_int) -> c_int = res_send;
    fn __res_nquery(state: *mut ResolverState, name: *const c_char, class: c_int, kind: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int = res_nquery;
    fn __res_nsearch(state: *mut ResolverState, name: *const c_char, class: c_int, kind: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int = res_nsearch;
    fn __res_nquerydomain(state: *mut ResolverState, name: *const c_char, domain: *const c_char,
        class: c_int, kind: c_int, answer: *mut c_uchar, length: c_int) -> c_int = res_nquerydomain;
    fn __res_nsend(state: *mut ResolverState, message: *const c_uchar, message_length: c_int,
        answer: *mut c_uchar, length: c_int) -> c_int = res_nsend;
}
