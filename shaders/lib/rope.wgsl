// Norm and rotation of a head of Q or K, in one order of operations wherever they are done:
//
//   (a, b) -> (a cos - b sin, b cos + a sin),  a = v[i], b = v[i + D/2],  angle = position * f_i
//
// qkv     tokens x (all heads + 2 KV heads) x D, the heads of Q first
// angles  positions x D/2 of (cos, sin), from the host in f64 (a shader's sin may be off by 2^-11)
// QK_NORM RMS norm per head of Q and K first, with gains of D numbers each: for Q, then for K
// Whoever imports this binds them, and has p.eps.
const HALF: u32 = D / 8u;   // vec4s of half a head
const GAINS_OF_Q = 0u;
const GAINS_OF_K: u32 = D / 4u;

// 1 / rms of the head whose first vec4 is `base`.
fn inverse_rms(base: u32) -> f32 {
#ifdef QK_NORM
    var squares = 0.0;
    for (var d = 0u; d < 2u * HALF; d++) {
        let v = qkv[base + d];
        squares = fma(v.w, v.w, fma(v.z, v.z, fma(v.y, v.y, fma(v.x, v.x, squares))));
    }
    return inverseSqrt(squares / f32(D) + p.eps);
#else
    return 1.0;
#endif
}

// Vec4 `i` of a head's lower half and vec4 `i` of its upper half.
fn rotated(base: u32, i: u32, position: u32, norm: f32, gains_at: u32) -> array<vec4<f32>, 2> {
    var a = qkv[base + i];
    var b = qkv[base + HALF + i];
#ifdef QK_NORM
    a *= norm * gains[gains_at + i];
    b *= norm * gains[gains_at + HALF + i];
#endif
    let r0 = angles[(position * HALF + i) * 2u];
    let r1 = angles[(position * HALF + i) * 2u + 1u];
    let c = vec4(r0.xz, r1.xz);
    let s = vec4(r0.yw, r1.yw);
    return array(fma(a, c, -(b * s)), fma(b, c, a * s));
}
