//! Counter-based randomness: the same draw on every executor.

/// Philox4x32-10: four random words from a counter and a key (Salmon et al. 2011).
pub fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let p = u64::from(a) * u64::from(b);
        ((p >> 32) as u32, p as u32)
    };
    for _ in 0..10 {
        let ((p_high, p_low), (q_high, q_low)) = (wide(0xD251_1F53, c[0]), wide(0xCD9E_8D57, c[2]));
        c = [q_high ^ c[1] ^ k[0], q_low, p_high ^ c[3] ^ k[1], p_low];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers of the Random123 library.
    #[test]
    fn philox_gives_the_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }
}
