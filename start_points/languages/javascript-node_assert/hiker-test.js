"use strict";

const assert = require("assert").strict;
const hiker = require("./hiker");

assert.equal(hiker.answer(), 42);

console.log("All tests passed");
