// In an object of its own, because some tests have their own main.
int catch_main(int count, char **arguments);

int main(int count, char **arguments)
{
    return catch_main(count, arguments);
}
