import org.jmock.Expectations;
import org.jmock.integration.junit4.JUnitRuleMockery;
import org.junit.Rule;
import org.junit.Test;

public class HikerTest {

    @Rule
    public final JUnitRuleMockery context = new JUnitRuleMockery();

    @Test
    public void theAnswerToLifeTheUniverseAndEverythingIsPublished() {
        Guide guide = context.mock(Guide.class);
        context.checking(new Expectations() {{
            oneOf(guide).publish(42);
        }});
        new Hiker(guide).answer();
    }
}
