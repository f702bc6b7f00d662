// The programs that measure. They are a module of their own, so that what they need is nothing that mxhook needs.
module mxhook/bench

go 1.26.0
