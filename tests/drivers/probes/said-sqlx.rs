// Tries connections, one a line: its name and sqlx's URL, parted by a tab; and says of each what sqlx, on rustls, said.
use std::{io::BufRead, time::Duration};

use sqlx::{postgres::PgPoolOptions, Connection, PgConnection};

async fn attempt(name: &str, url: &str) -> Result<(), sqlx::Error> {
    if name.ends_with("-pool") {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(1)).connect(url).await?;
        let _held = pool.acquire().await?;
        return pool.acquire().await.map(drop);
    }
    PgConnection::connect(url).await?.close().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (name, url) = line.split_once('\t').unwrap_or(("", ""));
        let said = match attempt(name, url).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        println!("{name}\t{}", said.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
