public interface Guide {

    void publish(int answer);
}
