<?php

use PHPUnit\Framework\TestCase;

require_once "Hiker.php";

class HikerTest extends TestCase
{
    public function testTheAnswerToLifeTheUniverseAndEverything()
    {
        $hiker = new Hiker();
        $this->assertEquals(42, $hiker->answer());
    }
}
