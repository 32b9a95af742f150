//! Vision Transformers: pixels to tokens, with every site open to whoever looks
