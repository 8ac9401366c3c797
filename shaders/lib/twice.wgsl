// What a counterfactual is made of: the kernel's unpacking and products are done twice on what was loaded
// once, so that the time tells whether arithmetic is what it waits for. Results mean nothing.

// 0, which no compiler can know: what it is added to has to be computed again.
fn nothing() -> f32 { return bitcast<f32>(p.pad0); }

// a . b + sum in multiply-adds, which no compiler puts together with the first time's product.
fn fused(a: vec4<f32>, b: vec4<f32>, sum: f32) -> f32 {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}
