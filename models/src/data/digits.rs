//! The optical digits of Alpaydin and Kaynak (1998), inside the program; `digits.md` tells where they come from.

use crate::data::{batch::permutation, dataset::*};

/// Records of a label, 0 to 9, and 64 pixels, 0 to 16.
const RECORDS: &[u8] = include_bytes!("digits.bin");

/// Bytes of a record.
const RECORD: usize = 1 + 64;

/// Images kept for testing.
const TEST: usize = 360;

/// Key of the shuffle: the year of the data.
const SEED: u64 = 1998;

/// 1,437 training and 360 test images, 8×8×1, ten classes; pixels are `255 x / 16`, rounded (halves up).
pub(crate) fn load() -> Dataset {
    let records: Vec<&[u8]> = RECORDS.chunks_exact(RECORD).collect();
    let shuffled: Vec<&[u8]> = permutation(SEED, 0, records.len()).iter().map(|&i| records[i as usize]).collect();
    let tested = stratified(&shuffled);
    let part = |test: bool| -> Images {
        let chosen = || shuffled.iter().zip(&tested).filter(|&(_, &t)| t == test).map(|(record, _)| record);
        Images {
            shape: [8, 8, 1],
            pixels: chosen().flat_map(|record| &record[1..]).map(|&x| ((u16::from(x) * 255 + 8) / 16) as u8).collect(),
            labels: chosen().map(|record| u32::from(record[0])).collect(),
        }
    };
    Dataset::new("digits", digit_classes(), part(false), part(true))
}

/// The classes `0` to `9`.
pub(crate) fn digit_classes() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

/// Which records are for testing: of all in the order of their classes, [`TEST`] at even distances.
fn stratified(records: &[&[u8]]) -> Vec<bool> {
    let n = records.len();
    let mut by_class: Vec<usize> = (0..n).collect();
    by_class.sort_by_key(|&i| records[i][0]);
    let mut tested = vec![false; n];
    for (k, i) in by_class.into_iter().enumerate() {
        tested[i] = (k + 1) * TEST / n > k * TEST / n;
    }
    tested
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(images: &Images) -> [usize; 10] {
        std::array::from_fn(|class| images.labels.iter().filter(|&&label| label as usize == class).count())
    }

    #[test]
    fn the_records_are_whole() {
        assert_eq!(RECORDS.len(), 1797 * RECORD);
        assert!(RECORDS.chunks_exact(RECORD).all(|r| r[0] <= 9 && r[1..].iter().all(|&x| x <= 16)));
        assert_eq!(RECORDS[..RECORD][..9], [0, 0, 0, 5, 13, 9, 1, 0, 0]);
    }

    #[test]
    fn each_class_gives_its_share_to_the_test() {
        let data = load();
        assert_eq!((data.train.len(), data.test.len()), (1437, 360));
        assert_eq!((data.train.pixels.len(), data.test.pixels.len()), (1437 * 64, 360 * 64));
        let (train, test) = (counts(&data.train), counts(&data.test));
        for (class, all) in [178, 182, 177, 183, 181, 182, 181, 179, 174, 180].into_iter().enumerate() {
            assert_eq!(train[class] + test[class], all, "class {class}");
            let share = all as f64 * 360.0 / 1797.0;
            assert!((test[class] as f64 - share).abs() < 1.0, "class {class}: {} of {share}", test[class]);
        }
    }

    /// No image is lost or doubled, and each keeps its label.
    #[test]
    fn the_parts_make_the_whole() {
        let data = load();
        let parts = [&data.train, &data.test].into_iter();
        let images = parts.flat_map(|part| part.labels.iter().zip(part.pixels.chunks_exact(64)));
        let mut found: Vec<Vec<u8>> = images.map(|(&label, pixels)| [&[label as u8], pixels].concat()).collect();
        let scale = |x: &u8| (f64::from(*x) * 255.0 / 16.0).round() as u8;
        let scaled = |r: &[u8]| r[..1].iter().copied().chain(r[1..].iter().map(scale)).collect();
        let mut whole: Vec<Vec<u8>> = RECORDS.chunks_exact(RECORD).map(scaled).collect();
        found.sort();
        whole.sort();
        assert!(found == whole);
    }

    #[test]
    fn shuffled_the_same_way_every_time() {
        let data = load();
        assert_eq!(data, load());
        assert!(!data.train.labels.is_sorted() && !data.test.labels.is_sorted());
        let (mean, std) = (data.mean[0], data.std[0]);
        assert!((mean - 0.305).abs() < 0.005 && (std - 0.376).abs() < 0.005, "{mean}, {std}");
    }
}
