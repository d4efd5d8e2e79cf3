"use strict";

const assert = require("assert");
const { Given, When, Then } = require("cucumber");
const hiker = require("./hiker");

Given("a hiker with a towel", function () {
    this.hiker = hiker;
});

When("the hiker asks for the answer", function () {
    this.answer = this.hiker.answer();
});

Then("the answer is {int}", function (expected) {
    assert.strictEqual(this.answer, expected);
});
