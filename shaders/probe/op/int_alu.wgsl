// Integers as unpacking of weights uses them, shifts and masks: six operations (xorshift32;
// Marsaglia 2003), and c, which is zero where the host says so but not to the compiler: a seventh.
alias Value = u32;
alias Sum = u32;

fn start(i: u32) -> Value {
    return i * 0x9e3779b9u + 1u;
}

fn next(x: Value, c: u32) -> Value {
    var y = x ^ (x << 13u);
    y ^= y >> 17u;
    y ^= y << 5u;
    return y + c;
}

fn total(x: Value) -> Sum {
    return x;
}
