//! Database clients: pure Rust ones, and C libraries below Rust.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenpatch_third_party::servers::Server;
use greenpatch_third_party::threads::{join, threads};
use harness::{eventually, on_one_worker};

const CLIENTS: usize = 30;

#[test]
fn redis_with_a_pool() {
    let server = Server::redis();
    let url = format!("redis://127.0.0.1:{}/", server.port());
    on_one_worker(move || {
        let client = redis::Client::open(url).unwrap();
        let pool = r2d2::Pool::builder()
            .max_size(CLIENTS as u32)
            .build(client.clone())
            .unwrap();
        let poppers = threads(CLIENTS, move |number| {
            let mut connection = pool.get().unwrap();
            let (_, value): (String, usize) = redis::cmd("BLPOP")
                .arg(format!("list-{number}"))
                .arg(0)
                .query(&mut connection)
                .unwrap();
            value
        });
        let mut connection = client.get_connection().unwrap();
        eventually(|| {
            let clients: String = redis::cmd("INFO")
                .arg("clients")
                .query(&mut connection)
                .unwrap();
            clients.contains(&format!("blocked_clients:{CLIENTS}\r"))
        });
        for number in 0..CLIENTS {
            let _: usize = redis::cmd("RPUSH")
                .arg(format!("list-{number}"))
                .arg(number * 7)
                .query(&mut connection)
                .unwrap();
        }
        let expected: Vec<_> = (0..CLIENTS).map(|number| number * 7).collect();
        assert_eq!(join(poppers), expected);
    });
}

#[test]
fn a_redis_pool_with_fewer_connections_than_clients() {
    let server = Server::redis();
    let url = format!("redis://127.0.0.1:{}/", server.port());
    on_one_worker(move || {
        let pool = r2d2::Pool::builder()
            .max_size(3)
            .build(redis::Client::open(url).unwrap())
            .unwrap();
        let counters = threads(CLIENTS, {
            let pool = pool.clone();
            move |_| {
                for _ in 0..20 {
                    let _: usize = redis::cmd("INCR")
                        .arg("counter")
                        .query(&mut pool.get().unwrap())
                        .unwrap();
                }
            }
        });
        join(counters);
        let total: usize = redis::cmd("GET")
            .arg("counter")
            .query(&mut pool.get().unwrap())
            .unwrap();
        assert_eq!(total, CLIENTS * 20);
    });
}

#[test]
fn postgres_with_a_pool() {
    use r2d2_postgres::PostgresConnectionManager;
    use r2d2_postgres::postgres::NoTls;

    let server = Server::postgres();
    let settings = format!("host=127.0.0.1 port={} user=postgres", server.port());
    on_one_worker(move || {
        let manager = PostgresConnectionManager::new(settings.parse().unwrap(), NoTls);
        let pool = r2d2::Pool::builder()
            .max_size(CLIENTS as u32 + 1)
            .build(manager)
            .unwrap();
        let mut keeper = pool.get().unwrap();
        keeper.execute("SELECT pg_advisory_lock(1)", &[]).unwrap();
        let waiters = threads(CLIENTS, move |number| {
            let row = pool
                .get()
                .unwrap()
                .query_one(
                    "SELECT $1::int4 * 7 FROM pg_advisory_lock_shared(1)",
                    &[&(number as i32)],
                )
                .unwrap();
            row.get::<_, i32>(0)
        });
        eventually(|| {
            let row = keeper
                .query_one("SELECT count(*) FROM pg_locks WHERE NOT granted", &[])
                .unwrap();
            row.get::<_, i64>(0) == CLIENTS as i64
        });
        keeper.execute("SELECT pg_advisory_unlock(1)", &[]).unwrap();
        let expected: Vec<_> = (0..CLIENTS as i32).map(|number| number * 7).collect();
        assert_eq!(join(waiters), expected);
    });
}

#[test]
fn diesel_with_libpq() {
    use diesel::pg::PgConnection;
    use diesel::r2d2::{ConnectionManager, Pool};
    use diesel::sql_types::{BigInt, Integer};
    use diesel::{QueryableByName, RunQueryDsl, sql_query};

    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }

    #[derive(QueryableByName)]
    struct Product {
        #[diesel(sql_type = Integer)]
        product: i32,
    }

    let server = Server::postgres();
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port());
    on_one_worker(move || {
        let pool = Pool::builder()
            .max_size(CLIENTS as u32 + 1)
            .build(ConnectionManager::<PgConnection>::new(url))
            .unwrap();
        let mut keeper = pool.get().unwrap();
        sql_query("SELECT pg_advisory_lock(1)")
            .execute(&mut keeper)
            .unwrap();
        let waiters = threads(CLIENTS, move |number| {
            sql_query("SELECT $1 * 7 AS product FROM pg_advisory_lock_shared(1)")
                .bind::<Integer, _>(number as i32)
                .get_result::<Product>(&mut pool.get().unwrap())
                .unwrap()
                .product
        });
        eventually(|| {
            sql_query("SELECT count(*) FROM pg_locks WHERE NOT granted")
                .get_result::<Count>(&mut keeper)
                .unwrap()
                .count
                == CLIENTS as i64
        });
        sql_query("SELECT pg_advisory_unlock(1)")
            .execute(&mut keeper)
            .unwrap();
        let expected: Vec<_> = (0..CLIENTS as i32).map(|number| number * 7).collect();
        assert_eq!(join(waiters), expected);
    });
}

#[test]
fn mysql_with_its_pool() {
    use mysql::prelude::Queryable;
    use mysql::{OptsBuilder, Pool};

    let server = Server::mariadb();
    let port = server.port();
    on_one_worker(move || {
        let options = OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(port)
            .prefer_socket(false)
            .user(Some("root"));
        let pool = Pool::new(options).unwrap();
        let mut keeper = pool.get_conn().unwrap();
        keeper.query_drop("SELECT GET_LOCK('gate', 60)").unwrap();
        let waiters = threads(CLIENTS, move |number| {
            let mut connection = pool.get_conn().unwrap();
            let (got, product): (i32, usize) = connection
                .exec_first("SELECT GET_LOCK('gate', 60), ? * 7", (number,))
                .unwrap()
                .unwrap();
            assert_eq!(got, 1);
            connection
                .query_drop("SELECT RELEASE_LOCK('gate')")
                .unwrap();
            product
        });
        eventually(|| {
            let waiting: Option<usize> = keeper
                .query_first(
                    "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock'",
                )
                .unwrap();
            waiting == Some(CLIENTS)
        });
        keeper.query_drop("SELECT RELEASE_LOCK('gate')").unwrap();
        let expected: Vec<_> = (0..CLIENTS).map(|number| number * 7).collect();
        assert_eq!(join(waiters), expected);
    });
}

#[test]
fn rusqlite_waits_for_a_busy_file() {
    use rusqlite::Connection;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("database");
    on_one_worker(move || {
        let keeper = Connection::open(&path).unwrap();
        keeper
            .execute_batch("CREATE TABLE numbers (number INTEGER); BEGIN EXCLUSIVE")
            .unwrap();
        let arrived = Arc::new(AtomicUsize::new(0));
        let writers = threads(CLIENTS, {
            let arrived = arrived.clone();
            move |number| {
                let connection = Connection::open(&path).unwrap();
                connection.busy_timeout(Duration::from_secs(100)).unwrap();
                arrived.fetch_add(1, Ordering::Relaxed);
                connection
                    .execute("INSERT INTO numbers VALUES (?1)", [number as i64])
                    .unwrap();
            }
        });
        // The writers sleep between their looks at the file, inside the C library.
        eventually(|| arrived.load(Ordering::Relaxed) == CLIENTS);
        keeper.execute_batch("COMMIT").unwrap();
        join(writers);
        let sum: i64 = keeper
            .query_row("SELECT sum(number) FROM numbers", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, (CLIENTS * (CLIENTS - 1) / 2) as i64);
    });
}
