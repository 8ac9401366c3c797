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

// The squares of vec4 `i` of either half of the head whose first vec4 is `base`.
fn squares(base: u32, i: u32) -> f32 {
    let a = qkv[base + i];
    let b = qkv[base + HALF + i];
    let lower = fma(a.w, a.w, fma(a.z, a.z, fma(a.y, a.y, a.x * a.x)));
    return fma(b.w, b.w, fma(b.z, b.z, fma(b.y, b.y, fma(b.x, b.x, lower))));
}

// 1 / rms of a head, from the sum of its squares in the order of `i`.
fn inverse_root(sum: f32) -> f32 { return inverseSqrt(sum / f32(D) + p.eps); }

fn inverse_rms(base: u32) -> f32 {
#ifdef QK_NORM
    var sum = 0.0;
    for (var i = 0u; i < HALF; i++) { sum += squares(base, i); }
    return inverse_root(sum);
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

// Vec4 `i` of a head.
fn turned(base: u32, i: u32, position: u32, norm: f32, gains_at: u32) -> vec4<f32> {
    let halves = rotated(base, i % HALF, position, norm, gains_at);
    return select(halves[1], halves[0], i < HALF);
}
