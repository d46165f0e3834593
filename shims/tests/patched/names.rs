//! Look-ups of names keep their promises on every kind of thread.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int, c_uchar};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::ptr::{null, null_mut};
use std::thread;

use greenpatch_runtime::Builder;
use harness::c::errno;
use harness::{Kind, on_every_kind_of_thread};

on_every_kind_of_thread! {
    a_host_is_found_by_name,
    an_address_is_turned_into_numbers,
    what_is_no_address_is_refused,
    users_and_groups_are_found,
    a_buffer_that_is_too_small_is_refused,
    a_service_is_found_or_not,
    a_query_that_is_refused_sets_errno,
    each_thread_has_its_own_resolver_and_begins_with_a_fresh_one;
    blocking:
    queries_of_many_threads_are_under_way_at_once,
    hosts_are_looked_up_beside_each_other,
}

unsafe extern "C" {
    fn __res_init() -> c_int;
    fn __res_state() -> *mut ResolverState;
    fn res_query(
        name: *const c_char,
        class: c_int,
        kind: c_int,
        answer: *mut c_uchar,
        length: c_int,
    ) -> c_int;
    fn getservbyname_r(
        name: *const c_char,
        protocol: *const c_char,
        entry: *mut libc::servent,
        buffer: *mut c_char,
        length: usize,
        result: *mut *mut libc::servent,
    ) -> c_int;
}

/// The beginning of the C library's `__res_state`.
#[repr(C)]
struct ResolverState {
    retransmission_seconds: c_int,
    attempts: c_int,
    options: u64,
    server_count: c_int,
    server: libc::sockaddr_in,
}

fn a_host_is_found_by_name() {
    let found: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 80)
    );
}

fn an_address_is_turned_into_numbers() {
    // SAFETY: zero is a value of plain data.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = 7u16.to_be();
    address.sin_addr.s_addr = u32::from(Ipv4Addr::new(192, 0, 2, 1)).to_be();
    let (mut host, mut service) = ([0; 64], [0; 16]);
    // SAFETY: an address and two buffers.
    let texts = unsafe {
        let status = libc::getnameinfo(
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
            host.as_mut_ptr(),
            host.len() as libc::socklen_t,
            service.as_mut_ptr(),
            service.len() as libc::socklen_t,
            libc::NI_NUMERICHOST | libc::NI_NUMERICSERV,
        );
        assert_eq!(status, 0);
        [host.as_ptr(), service.as_ptr()].map(|text| CStr::from_ptr(text))
    };
    assert_eq!(texts, [c"192.0.2.1", c"7"]);
}

fn what_is_no_address_is_refused() {
    // SAFETY: zero is a value of plain data.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_flags = libc::AI_NUMERICHOST;
    let mut found = null_mut();
    // SAFETY: a C string, hints and a place for the result.
    let status = unsafe { libc::getaddrinfo(c"no address".as_ptr(), null(), &hints, &mut found) };
    assert_eq!(status, libc::EAI_NONAME);
}

fn users_and_groups_are_found() {
    let mut buffer = [0; 4096];
    let mut user = MaybeUninit::<libc::passwd>::uninit();
    let mut found_user = null_mut();
    let mut group = MaybeUninit::<libc::group>::uninit();
    let mut found_group = null_mut();
    // SAFETY: entries, a buffer of that length and places for the results; what is found is made of C strings.
    unsafe {
        let (text, length) = (buffer.as_mut_ptr(), buffer.len());
        let status = libc::getpwuid_r(0, user.as_mut_ptr(), text, length, &mut found_user);
        assert_eq!(status, 0);
        assert_eq!(CStr::from_ptr((*found_user).pw_name), c"root");
        let name = c"no such group";
        libc::getgrnam_r(
            name.as_ptr(),
            group.as_mut_ptr(),
            text,
            length,
            &mut found_group,
        );
    }
    assert!(found_group.is_null());
}

fn a_buffer_that_is_too_small_is_refused() {
    let mut user = MaybeUninit::<libc::passwd>::uninit();
    let mut found = null_mut();
    let mut buffer = [0; 1];
    // SAFETY: as above.
    let status = unsafe {
        libc::getpwuid_r(
            0,
            user.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut found,
        )
    };
    assert_eq!(status, libc::ERANGE);
    assert!(found.is_null());
}

fn a_service_is_found_or_not() {
    let mut entry = MaybeUninit::<libc::servent>::uninit();
    let mut found = null_mut();
    let mut buffer = [0; 1024];
    // SAFETY: as above.
    unsafe {
        getservbyname_r(
            c"no such service".as_ptr(),
            null(),
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut found,
        );
    }
    assert!(found.is_null());
}

/// Lets the calling thread's resolver ask this server alone, and not soon again.
fn ask_only(server: SocketAddr) {
    let SocketAddr::V4(server) = server else {
        panic!("the server has an IPv4 address");
    };
    // SAFETY: the calling thread's own state, which begins as declared.
    unsafe {
        assert_eq!(__res_init(), 0);
        let state = &mut *__res_state();
        state.retransmission_seconds = 30;
        state.attempts = 1;
        state.server_count = 1;
        state.server.sin_family = libc::AF_INET as libc::sa_family_t;
        state.server.sin_port = server.port().to_be();
        state.server.sin_addr.s_addr = u32::from(*server.ip()).to_be();
    }
}

/// Asks for the IPv4 address of a name; the length of the answer, or -1.
fn query(name: &str) -> c_int {
    let name = CString::new(name).unwrap();
    let mut answer = [0; 512];
    // SAFETY: a C string and a buffer of that length. 1 and 1 mean the Internet's class and an IPv4 address.
    unsafe { res_query(name.as_ptr(), 1, 1, answer.as_mut_ptr(), 512) }
}

fn a_query_that_is_refused_sets_errno() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    ask_only(server.local_addr().unwrap());
    drop(server);
    // Nobody listens there.
    assert_eq!(query("a.test"), -1);
    assert_eq!(errno(), libc::ECONNREFUSED);
}

fn each_thread_has_its_own_resolver_and_begins_with_a_fresh_one() {
    // SAFETY: the calling thread's own state, which begins as declared.
    let state = || unsafe { (__res_state() as usize, (*__res_state()).options) };
    // SAFETY: always sound.
    let initialise = || assert_eq!(unsafe { __res_init() }, 0);
    initialise();
    let (mine, options) = state();
    assert_ne!(options, 0);
    for _ in 0..3 {
        // The second and third may run where the one before has ended.
        let (its, options) = thread::spawn(move || {
            let before = state();
            initialise();
            before
        })
        .join()
        .unwrap();
        assert_ne!(its, mine);
        assert_eq!(options, 0, "it was not in use");
    }
    assert_eq!(state(), (mine, options));
}

/// A name server that answers nobody before it has been asked for `count` names, and then says that there is nothing.
fn answer_once_all_have_asked(server: &UdpSocket, count: usize) {
    let mut names = HashSet::new();
    let mut questions = Vec::new();
    let mut message = [0; 512];
    while names.len() < count {
        let (length, client) = server.recv_from(&mut message).unwrap();
        names.insert(message[12..length].to_vec());
        questions.push((message[..length].to_vec(), client));
    }
    for (mut message, client) in questions {
        // A response, to a query that may recurse, without error and without answers.
        (message[2], message[3]) = (0x81, 0x80);
        server.send_to(&message, client).unwrap();
    }
}

/// How many names are asked for at once.
const HOSTS: u8 = 20;

/// Threads each of which asks this server, and no other, for a host that ends in its number.
fn ask_for_hosts<T: Send + 'static>(
    server: &UdpSocket,
    ask: fn(&str) -> T,
) -> Vec<thread::JoinHandle<T>> {
    let address = server.local_addr().unwrap();
    (0..HOSTS)
        .map(|number| {
            thread::spawn(move || {
                ask_only(address);
                ask(&format!("host-{number}.test"))
            })
        })
        .collect()
}

fn queries_of_many_threads_are_under_way_at_once() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let clients = ask_for_hosts(&server, query);
    answer_once_all_have_asked(&server, HOSTS.into());
    for client in clients {
        // There is no such record.
        assert_eq!(client.join().unwrap(), -1);
    }
}

/// A name server that answers nobody before it has been asked for `count` names, and then gives each the address whose last
/// byte is the number at the end of its first label.
fn give_addresses_once_all_have_asked(server: &UdpSocket, count: usize) {
    let mut questions = HashMap::new();
    let mut message = [0; 512];
    while questions.len() < count {
        let (length, client) = server.recv_from(&mut message).unwrap();
        // Of what follows the question there is nothing to answer. It is a name of two labels, a type and a class.
        let first_label = 13..13 + usize::from(message[12]);
        let end = first_label.end + usize::from(message[first_label.end]) + 2 + 4;
        let label = String::from_utf8(message[first_label].to_vec()).unwrap();
        let number: u8 = label.rsplit_once('-').unwrap().1.parse().unwrap();
        assert!(end <= length);
        questions.insert(number, (message[..end].to_vec(), client));
    }
    for (number, (mut message, client)) in questions {
        // A response, to a query that may recurse, without error; one question, one answer, nothing else.
        message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        // For the name in the question: an IPv4 address of the Internet, good for a minute.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, number]);
        server.send_to(&message, client).unwrap();
    }
}

/// The IPv4 address of a name.
fn look_up(name: &str) -> Ipv4Addr {
    let name = CString::new(name).unwrap();
    // SAFETY: zero is a value of plain data.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = libc::AF_INET;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut found = null_mut();
    // SAFETY: a C string, hints and a place for the result, whose addresses are of the family asked for.
    unsafe {
        let status = libc::getaddrinfo(name.as_ptr(), null(), &hints, &mut found);
        assert_eq!(
            status,
            0,
            "{:?}",
            CStr::from_ptr(libc::gai_strerror(status))
        );
        let address = *(*found).ai_addr.cast::<libc::sockaddr_in>();
        libc::freeaddrinfo(found);
        Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))
    }
}

/// A look-up blocks its worker: spare ones take over, for the other look-ups and for the server, which is a green thread too.
fn hosts_are_looked_up_beside_each_other() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let clients = ask_for_hosts(&server, look_up);
    give_addresses_once_all_have_asked(&server, HOSTS.into());
    for (number, client) in (0..HOSTS).zip(clients) {
        assert_eq!(client.join().unwrap(), Ipv4Addr::new(192, 0, 2, number));
    }
}

/// Looks a name up when there are `left` bytes of stack, more or less.
#[inline(never)]
fn look_up_with_little_stack(left: usize, limit: usize) {
    let frame = [0u8; 1024];
    let here = std::hint::black_box(&frame).as_ptr() as usize;
    if here - limit > left {
        look_up_with_little_stack(left, limit);
    } else {
        assert_eq!(query("nobody.test"), -1);
    }
    std::hint::black_box(&frame);
}

#[test]
fn a_query_needs_hardly_any_of_a_green_threads_stack() {
    const STACK: usize = 64 << 10;
    Kind::Adopted.run_with_spare_workers(|| {
        let small = Builder::new().stack_size(STACK).spawn(|| {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            ask_only(server.local_addr().unwrap());
            drop(server);
            let mark = 0u8;
            let top = &raw const mark as usize;
            look_up_with_little_stack(8 << 10, top - STACK);
        });
        small.unwrap().join().unwrap();
    });
}
