//! Two sorted streams side by side: how rows of two databases are compared without holding either.

use std::cmp::Ordering;

use futures_util::{Stream, TryStreamExt as _};
use uuid::Uuid;

/// What stands under one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side<L, R> {
    /// Only the first stream has it.
    Left(L),
    /// Only the second has it.
    Right(R),
    /// Both have it.
    Both(L, R),
}

/// Walks through two streams that ascend by id, each id at most once, and tells `visit` of every id
/// what stands under it.
///
/// # Errors
/// The streams' own.
pub(crate) async fn merge<L, R, E>(
    left: impl Stream<Item = Result<(Uuid, L), E>>,
    right: impl Stream<Item = Result<(Uuid, R), E>>,
    mut visit: impl FnMut(Uuid, Side<L, R>),
) -> Result<(), E> {
    let (mut left, mut right) = (std::pin::pin!(left), std::pin::pin!(right));
    let (mut l, mut r) = (left.try_next().await?, right.try_next().await?);
    loop {
        let order = match (&l, &r) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((l, _)), Some((r, _))) => l.cmp(r),
        };
        match order {
            Ordering::Less => {
                if let Some((id, row)) = l.take() {
                    visit(id, Side::Left(row));
                }
                l = left.try_next().await?;
            }
            Ordering::Greater => {
                if let Some((id, row)) = r.take() {
                    visit(id, Side::Right(row));
                }
                r = right.try_next().await?;
            }
            Ordering::Equal => {
                if let (Some((id, one)), Some((_, other))) = (l.take(), r.take()) {
                    visit(id, Side::Both(one, other));
                }
                l = left.try_next().await?;
                r = right.try_next().await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::stream;

    use super::*;

    async fn merged(left: &[u64], right: &[u64]) -> Vec<(u64, Side<u64, u64>)> {
        let rows = |ids: &[u64]| {
            let rows = ids.iter().map(|id| Ok::<_, ()>((Uuid::from_u64_pair(0, *id), *id)));
            stream::iter(rows.collect::<Vec<_>>())
        };
        let mut seen = Vec::new();
        let visit = |id: Uuid, side| seen.push((id.as_u64_pair().1, side));
        merge(rows(left), rows(right), visit).await.unwrap();
        seen
    }

    #[tokio::test]
    async fn every_id_is_told_once_with_the_sides_that_have_it() {
        use Side::{Both, Left, Right};
        let expected = [
            (1, Left(1)),
            (2, Both(2, 2)),
            (3, Right(3)),
            (5, Left(5)),
            (7, Both(7, 7)),
            (9, Right(9)),
        ];
        assert_eq!(merged(&[1, 2, 5, 7], &[2, 3, 7, 9]).await, expected);
        assert_eq!(merged(&[], &[4]).await, [(4, Right(4))]);
        assert_eq!(merged(&[4], &[]).await, [(4, Left(4))]);
        assert!(merged(&[], &[]).await.is_empty());
    }

    #[tokio::test]
    async fn a_stream_that_fails_is_not_taken_for_one_that_ended() {
        let broken = stream::iter([Ok((Uuid::nil(), ())), Err("gone")]);
        let whole = stream::iter([Ok::<_, &str>((Uuid::nil(), ()))]);
        assert_eq!(merge(broken, whole, |_, _| {}).await, Err("gone"));
    }
}
