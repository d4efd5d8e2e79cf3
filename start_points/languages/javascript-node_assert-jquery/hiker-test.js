"use strict";

const assert = require("assert").strict;
const fs = require("fs");
const jquery = require("jquery");
const { JSDOM } = require("jsdom");
const hiker = require("./hiker");

const $ = jquery(new JSDOM(fs.readFileSync("hiker.html")).window);
hiker.publish($);
assert.equal($("#answer").text(), "42");

console.log("All tests passed");
