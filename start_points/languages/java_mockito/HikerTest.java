import static org.mockito.Mockito.mock;
import static org.mockito.Mockito.verify;

import org.junit.Test;

public class HikerTest {

    @Test
    public void theAnswerToLifeTheUniverseAndEverythingIsPublished() {
        Guide guide = mock(Guide.class);
        new Hiker(guide).answer();
        verify(guide).publish(42);
    }
}
