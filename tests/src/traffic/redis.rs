//! A key-value server that speaks as much of the Redis protocol as an example needs: PING, SET, GET, INCR.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::serve::listen;

type Store = Arc<Mutex<HashMap<String, String>>>;

/// Serves until the process ends.
///
/// # Errors
/// The port cannot be bound.
pub async fn redis(port: u16) -> io::Result<()> {
    let listener = listen(port).await?;
    let store = Store::default();
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that breaks the protocol loses its connection.
        tokio::spawn(session(stream, store.clone()));
    }
}

async fn session(stream: TcpStream, store: Store) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(words) = read_command(&mut stream).await? {
        let answer = answer(&words, &store);
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn answer(words: &[String], store: &Store) -> String {
    let mut store = store.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let name = words.first().map(|word| word.to_uppercase()).unwrap_or_default();
    match (name.as_str(), words.get(1..).unwrap_or_default()) {
        ("PING", []) => "+PONG\r\n".into(),
        ("SET", [key, value]) => {
            store.insert((*key).into(), (*value).into());
            "+OK\r\n".into()
        }
        ("GET", [key]) => match store.get(*key) {
            Some(value) => format!("${}\r\n{value}\r\n", value.len()),
            None => "$-1\r\n".into(),
        },
        ("INCR", [key]) => {
            let value = store.entry((*key).into()).or_insert_with(|| "0".into());
            match value.parse::<i64>().ok().and_then(|number| number.checked_add(1)) {
                Some(number) => {
                    *value = number.to_string();
                    format!(":{number}\r\n")
                }
                None => "-ERR value is not an integer or out of range\r\n".into(),
            }
        }
        _ => format!("-ERR unknown command or wrong number of arguments: '{name}'\r\n"),
    }
}

/// An array of bulk strings, or a line of words as typed by hand; none at the end of the stream.
async fn read_command(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<String>>> {
    let Some(head) = read_line(input).await? else { return Ok(None) };
    let Some(count) = head.strip_prefix('*') else {
        return Ok(Some(head.split_whitespace().map(str::to_owned).collect()));
    };
    let count: usize = number(count)?;
    let mut words = Vec::new();
    for _ in 0..count {
        words.extend(read_value(input).await?);
    }
    Ok(Some(words))
}

async fn read_value(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let head = read_line(input).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = match head.strip_prefix('$') {
        None => return Ok(Some(head.trim_start_matches(['+', ':']).to_owned())),
        Some("-1") => return Ok(None),
        Some(length) => number(length)?.min(1 << 20),
    };
    let mut text = vec![0; length + 2];
    input.read_exact(&mut text).await?;
    text.truncate(length);
    String::from_utf8(text).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

async fn read_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = input.read_line(&mut line).await?;
    Ok((length > 0).then(|| line.trim_end().to_owned()))
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Sends one command and returns the answer; none for a key that is not there.
///
/// # Errors
/// The connection fails, or the server answers with an error.
pub async fn redis_command(to: SocketAddr, words: &[&str]) -> io::Result<Option<String>> {
    let mut stream = BufReader::new(TcpStream::connect(to).await?);
    let bulk = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let command = std::iter::once(format!("*{}\r\n", words.len())).chain(bulk).collect::<String>();
    stream.write_all(command.as_bytes()).await?;
    match read_value(&mut stream).await? {
        Some(error) if error.starts_with('-') => Err(io::Error::other(error)),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_and_a_missing_key_is_null() {
        let store = Store::default();
        let ask = |words: &[&str]| answer(&words.iter().map(ToString::to_string).collect::<Vec<_>>(), &store);
        assert_eq!(ask(&["get", "hits"]), "$-1\r\n");
        assert_eq!(ask(&["INCR", "hits"]), ":1\r\n");
        assert_eq!(ask(&["INCR", "hits"]), ":2\r\n");
        assert_eq!(ask(&["GET", "hits"]), "$1\r\n2\r\n");
        assert!(ask(&["GET"]).starts_with("-ERR"));
    }

    #[tokio::test]
    async fn commands_are_read_as_arrays_and_as_words() {
        let mut input: &[u8] = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\nPING\r\n";
        assert_eq!(read_command(&mut input).await.unwrap().unwrap(), ["GET", "a\r\nb"]);
        assert_eq!(read_command(&mut input).await.unwrap().unwrap(), ["PING"]);
        assert_eq!(read_command(&mut input).await.unwrap(), None);
    }
}
