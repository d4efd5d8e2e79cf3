<?php
// Tests written before PHPUnit 6 extend the class by the name that it had then.
spl_autoload_register(function ($name) {
    if ($name === "PHPUnit_Framework_TestCase") {
        class_alias("PHPUnit\\Framework\\TestCase", $name);
    }
});
